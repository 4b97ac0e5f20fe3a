//! Metrics of the receipts of teardowns.

use prometheus_client::{metrics::counter::Counter, registry::Registry};

/// Metrics of the receipts of teardowns.
#[derive(Debug)]
pub(crate) struct ReceiptMetrics {
    /// Receipts written.
    pub(crate) written: Counter,
    /// Receipts given up, because too many waited to be written.
    pub(crate) lost: Counter,
}

impl ReceiptMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            written: Counter::default(),
            lost: Counter::default(),
        };
        let written = metrics.written.clone();
        registry.register("receipts_written", "Receipts written", written);
        let lost = metrics.lost.clone();
        registry.register("receipts_lost", "Receipts given up", lost);
        metrics
    }
}
