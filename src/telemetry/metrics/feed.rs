//! Metrics of the change stream.

use std::sync::{Arc, atomic::AtomicU64};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{counter::Counter, family::Family, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use super::{
    bytes::BytesCollector,
    labels::{Cause, Operation},
};
use crate::telemetry::Lag;

/// Metrics of the change stream.
#[derive(Debug)]
pub(crate) struct FeedMetrics {
    /// The time that this node is behind the database.
    pub(crate) lag: Lag,
    pub(crate) backlog_bytes: Arc<AtomicU64>,
    resumes: Family<Cause, Counter>,
    reloads: Family<Cause, Counter>,
    oddities: Family<Operation, Counter>,
}

impl FeedMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            lag: Lag::default(),
            backlog_bytes: Arc::default(),
            resumes: Family::default(),
            reloads: Family::default(),
            oddities: Family::default(),
        };
        registry.register_collector(Box::new(LagCollector(metrics.lag.clone())));
        registry.register_collector(Box::new(BytesCollector {
            name: "feed_window",
            help: "Bytes of the backlog: recent changes in memory, for replays",
            bytes: Arc::clone(&metrics.backlog_bytes),
        }));
        let resumes = metrics.resumes.clone();
        registry.register("feed_resumes", "Change streams reopened, by cause", resumes);
        let reloads = metrics.reloads.clone();
        registry.register(
            "feed_reloads",
            "Loads of all subscriptions, by cause",
            reloads,
        );
        let oddities = metrics.oddities.clone();
        registry.register(
            "feed_oddities",
            "Unusual changes in the feed, by operation",
            oddities,
        );
        metrics
    }

    /// Counts a reopening of the change stream.
    pub(crate) fn resumed(&self, cause: &'static str) {
        self.resumes.get_or_create(&Cause { cause }).inc();
    }

    /// Counts a load of all subscriptions.
    pub(crate) fn reloaded(&self, cause: &'static str) {
        self.reloads.get_or_create(&Cause { cause }).inc();
    }

    /// Counts a change that is not an ordinary insert, update or delete.
    pub(crate) fn oddity(&self, operation: &'static str) {
        self.oddities.get_or_create(&Operation { operation }).inc();
    }
}

/// Shows the lag as it is when it is asked for.
#[derive(Debug)]
struct LagCollector(Lag);

impl Collector for LagCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let lag = ConstGauge::new(self.0.now().as_secs_f64());
        lag.encode(encoder.encode_descriptor(
            "feed_lag",
            "Age of the oldest change that this node has not applied",
            Some(&Unit::Seconds),
            lag.metric_type(),
        )?)
    }
}
