//! Metrics of replays.

use prometheus_client::{
    metrics::{counter::Counter, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::latency_histogram;

#[derive(Debug)]
pub(crate) struct ReplayMetrics {
    /// Change streams opened for replays.
    pub(crate) streams: Counter,
    /// Archive pages read for replays.
    pub(crate) archive_pages: Counter,
    /// From the attach to live, of connections that replayed.
    pub(crate) duration: Histogram,
}

impl ReplayMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            streams: Counter::default(),
            archive_pages: Counter::default(),
            duration: latency_histogram(),
        };
        let streams = metrics.streams.clone();
        registry.register(
            "replay_streams",
            "Change streams opened for replays",
            streams,
        );
        let pages = metrics.archive_pages.clone();
        registry.register("replay_pages", "Archive pages read for replays", pages);
        let help = "From attach to live, for connections with a replay";
        let duration = metrics.duration.clone();
        registry.register_with_unit("replay", help, Unit::Seconds, duration);
        metrics
    }
}
