//! Gauges of bytes that others count.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::gauge::ConstGauge,
    registry::Unit,
};

/// A gauge of bytes that others count.
#[derive(Debug)]
pub(super) struct BytesCollector {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) bytes: Arc<AtomicU64>,
}

impl Collector for BytesCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let bytes = ConstGauge::new(self.bytes.load(Ordering::Relaxed));
        bytes.encode(encoder.encode_descriptor(
            self.name,
            self.help,
            Some(&Unit::Bytes),
            bytes.metric_type(),
        )?)
    }
}
