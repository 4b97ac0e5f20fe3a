//! Metrics of issuers of tokens and their keys.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicI64},
    time::Instant,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::Registry,
};

use super::labels::{IssuerAndOutcome, IssuerAndState};

/// Metrics of issuers of tokens and their keys.
#[derive(Debug)]
pub(crate) struct IssuerMetrics {
    reads: Family<IssuerAndOutcome, Counter>,
    keys: Family<IssuerAndState, Gauge<i64, AtomicI64>>,
    read_at: ReadAt,
}

/// The time at which the keys of each issuer were read.
#[derive(Clone, Default, Debug)]
struct ReadAt(Arc<Mutex<BTreeMap<String, Instant>>>);

impl IssuerMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            reads: Family::default(),
            keys: Family::default(),
            read_at: ReadAt::default(),
        };
        registry.register(
            "jwks_refreshes",
            "Reads of the keys of an issuer, by outcome",
            metrics.reads.clone(),
        );
        registry.register(
            "jwks_keys",
            "Keys of an issuer as they were read last, by whether they can be used",
            metrics.keys.clone(),
        );
        registry.register_collector(Box::new(metrics.read_at.clone()));
        metrics
    }

    /// Counts a read of an issuer's keys.
    pub(crate) fn read(&self, issuer: &str, outcome: &'static str) {
        let labels = IssuerAndOutcome {
            issuer: issuer.to_owned(),
            outcome,
        };
        self.reads.get_or_create(&labels).inc();
        if outcome == "ok" {
            let mut read_at = self
                .read_at
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            read_at.insert(issuer.to_owned(), Instant::now());
        }
    }

    /// Sets the number of an issuer's keys that can be used, and of those that cannot.
    pub(crate) fn has_keys(&self, issuer: &str, usable: usize, skipped: usize) {
        for (state, count) in [("usable", usable), ("skipped", skipped)] {
            let labels = IssuerAndState {
                issuer: issuer.to_owned(),
                state,
            };
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.keys.get_or_create(&labels).set(count);
        }
    }
}

impl Collector for ReadAt {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut ages = encoder.encode_descriptor(
            "jwks_age_seconds",
            "Time since the keys of an issuer were read",
            None,
            MetricType::Gauge,
        )?;
        for (issuer, at) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let age = ConstGauge::new(at.elapsed().as_secs_f64());
            age.encode(ages.encode_family(&[("issuer", issuer.as_str())])?)?;
        }
        Ok(())
    }
}
