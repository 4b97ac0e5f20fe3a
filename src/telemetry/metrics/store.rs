//! Metrics of the database.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::labels::Collection;

/// Metrics of the database.
#[derive(Debug)]
pub(crate) struct StoreMetrics {
    unreadable_documents: Family<Collection, Counter>,
    /// The oplog's reach into the past, in seconds; not a number if it may not be read.
    pub(crate) oplog_window: Gauge<f64, AtomicU64>,
}

impl StoreMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            unreadable_documents: Family::default(),
            oplog_window: Gauge::default(),
        };
        let unreadable = metrics.unreadable_documents.clone();
        registry.register(
            "unreadable_documents",
            "Reads of this service's documents that failed, by collection",
            unreadable,
        );
        let window = metrics.oplog_window.clone();
        let help = "Reach of the oplog into the past";
        registry.register_with_unit("oplog_window", help, Unit::Seconds, window);
        metrics
    }

    /// Counts a document that could not be read and was left out.
    pub(crate) fn unreadable_document(&self, collection: &'static str) {
        self.unreadable_documents
            .get_or_create(&Collection { collection })
            .inc();
    }
}
