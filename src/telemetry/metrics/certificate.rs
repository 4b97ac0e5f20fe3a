//! The time that is left to the certificate.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::gauge::ConstGauge,
    registry::Unit,
};

/// The end of the certificate, in seconds since 1970; 0 is none.
pub(super) type CertificateEnd = Arc<AtomicI64>;

/// Shows the seconds until the certificate ends, as they are at each scrape; nothing where there is none.
#[derive(Debug)]
pub(super) struct CertificateCollector(pub(super) CertificateEnd);

impl Collector for CertificateCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let end = self.0.load(Ordering::Relaxed);
        if end == 0 {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        let left = ConstGauge::new(end - now);
        left.encode(encoder.encode_descriptor(
            "certificate_expiry",
            "Seconds until the TLS certificate in use ends",
            Some(&Unit::Seconds),
            left.metric_type(),
        )?)
    }
}
