//! Metrics of acknowledgements and the positions that they move.

use std::sync::atomic::AtomicI64;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::labels::Cause;

/// Metrics of acknowledgements and the positions that they move.
#[derive(Debug)]
pub(crate) struct PositionMetrics {
    /// Acknowledgements accepted.
    pub(crate) acks: Counter,
    acks_ignored: Family<Cause, Counter>,
    /// Batched writes of positions.
    pub(crate) writes: Counter,
    /// Positions of durable subscriptions that the oplog no longer reaches, or soon will not.
    pub(crate) at_risk: Gauge<i64, AtomicI64>,
}

impl PositionMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            acks: Counter::default(),
            acks_ignored: Family::default(),
            writes: Counter::default(),
            at_risk: Gauge::default(),
        };
        registry.register("acks", "Acknowledgements accepted", metrics.acks.clone());
        let ignored = metrics.acks_ignored.clone();
        registry.register(
            "acks_ignored",
            "Acknowledgements ignored, by cause",
            ignored,
        );
        let writes = metrics.writes.clone();
        registry.register("position_writes", "Batched writes of positions", writes);
        registry.register(
            "positions_at_risk",
            "Acknowledged positions that the oplog soon no longer reaches",
            metrics.at_risk.clone(),
        );
        metrics
    }

    /// Counts an acknowledgement that cannot be accepted.
    pub(crate) fn ack_ignored(&self, cause: &'static str) {
        self.acks_ignored.get_or_create(&Cause { cause }).inc();
    }
}
