//! Metrics of teardowns and their receipts.

use std::time::Duration;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::{Metrics, labels::Right, latency_histogram};

/// Metrics of teardowns and their receipts.
#[derive(Debug)]
pub(crate) struct ReceiptMetrics {
    /// Receipts written.
    pub(crate) written: Counter,
    /// Receipts given up, because too many waited to be written.
    pub(crate) lost: Counter,
    teardowns: Family<Right, Histogram, fn() -> Histogram>,
}

impl ReceiptMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            written: Counter::default(),
            lost: Counter::default(),
            teardowns: Family::new_with_constructor(latency_histogram),
        };
        let written = metrics.written.clone();
        registry.register("receipts_written", "Receipts written", written);
        let lost = metrics.lost.clone();
        registry.register("receipts_lost", "Receipts given up", lost);
        registry.register_with_unit(
            "teardown",
            "From the commit that ends a right to the close of its last connection here (two clocks)",
            Unit::Seconds,
            metrics.teardowns.clone(),
        );
        metrics
    }

    /// Observes that the last connection of a right of this kind has closed, so long after the right has ended.
    pub(crate) fn torn_down(&self, right: &'static str, after: Duration) {
        let teardowns = self.teardowns.get_or_create(&Right { right });
        Metrics::observe(&teardowns, after);
    }
}
