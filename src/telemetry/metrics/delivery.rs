//! Metrics of the way from an event to the sockets.

use std::sync::{Arc, atomic::AtomicU64};

use prometheus_client::{
    metrics::{
        counter::Counter,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use super::{bytes::BytesCollector, latency_histogram};

/// Metrics of the way from an event to the sockets.
#[derive(Debug)]
pub(crate) struct DeliveryMetrics {
    /// Events read from the feed.
    pub(crate) events_received: Counter,
    /// Events that at least one subscription matched.
    pub(crate) events_matched: Counter,
    /// Events that are not valid UTF-8 or cannot be read, once for each dialect. They are delivered with
    /// U+FFFD in place of the bad part.
    pub(crate) events_undecodable: Counter,
    /// Event frames written to sockets.
    pub(crate) frames: Counter,
    /// Subscriptions made invalid because an event could not be matched with their filters.
    pub(crate) filters_blamed: Counter,
    /// Subscriptions skipped on an event: because other filters took too much, or in a replay.
    pub(crate) filters_undecided: Counter,
    filter_steps: Histogram,
    /// Bytes waiting for all connections together. What several wait for counts once.
    pub(crate) outbox_bytes: Arc<AtomicU64>,
    /// Times that the router waited for a full outbox.
    pub(crate) router_waits: Counter,
    /// From the commit's wall time on the server to its receipt here (two clocks).
    pub(crate) commit_to_receipt: Histogram,
    /// From the receipt to the hand-over to the sockets' tasks.
    pub(crate) receipt_to_match: Histogram,
    /// From the hand-over until the kernel has taken the bytes.
    pub(crate) match_to_socket: Histogram,
}

impl DeliveryMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            events_received: Counter::default(),
            events_matched: Counter::default(),
            events_undecodable: Counter::default(),
            frames: Counter::default(),
            filters_blamed: Counter::default(),
            filters_undecided: Counter::default(),
            filter_steps: Histogram::new(exponential_buckets(1e6, 2.0, 11)),
            outbox_bytes: Arc::default(),
            router_waits: Counter::default(),
            commit_to_receipt: latency_histogram(),
            receipt_to_match: latency_histogram(),
            match_to_socket: latency_histogram(),
        };
        for (name, help, counter) in [
            (
                "events_received",
                "Events read from the feed",
                &metrics.events_received,
            ),
            (
                "events_matched",
                "Events that at least one subscription matched",
                &metrics.events_matched,
            ),
            (
                "events_undecodable",
                "Events delivered with U+FFFD in place of what is not UTF-8",
                &metrics.events_undecodable,
            ),
            (
                "deliveries",
                "Event frames written to sockets",
                &metrics.frames,
            ),
            (
                "filters_blamed",
                "Subscriptions made invalid because an event could not be matched with their filters",
                &metrics.filters_blamed,
            ),
            (
                "filters_undecided",
                "Subscriptions skipped on an event: because other filters took too much, or in a replay",
                &metrics.filters_undecided,
            ),
            (
                "router_waits",
                "Times the router waited for an outbox",
                &metrics.router_waits,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "event_dear_steps",
            "Filter steps on events that took unusually many",
            metrics.filter_steps.clone(),
        );
        registry.register_collector(Box::new(BytesCollector {
            name: "outbox",
            help: "Bytes waiting in outboxes; shared ones count once",
            bytes: Arc::clone(&metrics.outbox_bytes),
        }));
        for (name, help, histogram) in [
            (
                "commit_to_receipt",
                "From commit to receipt (two clocks)",
                &metrics.commit_to_receipt,
            ),
            (
                "receipt_to_match",
                "From receipt to hand-over to the sockets' tasks",
                &metrics.receipt_to_match,
            ),
            (
                "match_to_socket",
                "From hand-over until the kernel has taken the bytes",
                &metrics.match_to_socket,
            ),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
        metrics
    }

    /// Observes the steps that filters took on an event, if these were more than ordinary.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(crate) fn observe_filter_steps(&self, steps: u64) {
        self.filter_steps.observe(steps as f64);
    }
}
