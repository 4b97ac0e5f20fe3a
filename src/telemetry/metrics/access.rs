//! Metrics of callers and their credentials.

use std::sync::atomic::{AtomicI64, Ordering};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{
    certificate::{CertificateCollector, CertificateEnd},
    labels::{Kind, KindAndOutcome, Outcome, Status, What},
};

/// Metrics of callers and their credentials.
#[derive(Debug)]
pub(crate) struct AccessMetrics {
    proofs: Family<KindAndOutcome, Counter>,
    credentials: Family<Kind, Gauge<i64, AtomicI64>>,
    withheld: Family<Kind, Gauge<i64, AtomicI64>>,
    policies: Family<Status, Gauge<i64, AtomicI64>>,
    /// Requests whose policy could not be applied to their callers.
    pub(crate) unsatisfied: Counter,
    limited: Family<What, Counter>,
    certificate_end: CertificateEnd,
    /// 1 if this node runs as only the setting `insecure` allows.
    pub(crate) insecure: Gauge<i64, AtomicI64>,
    refreshes: Family<Outcome, Counter>,
    tickets: Family<Outcome, Counter>,
    uses: Family<Outcome, Counter>,
    /// Revocations that are applied.
    pub(crate) revocations: Gauge<i64, AtomicI64>,
}

impl AccessMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            proofs: Family::default(),
            credentials: Family::default(),
            withheld: Family::default(),
            policies: Family::default(),
            unsatisfied: Counter::default(),
            limited: Family::default(),
            certificate_end: CertificateEnd::default(),
            insecure: Gauge::default(),
            refreshes: Family::default(),
            tickets: Family::default(),
            uses: Family::default(),
            revocations: Gauge::default(),
        };
        registry.register(
            "auth",
            "Requests judged by their credentials, by kind and outcome",
            metrics.proofs.clone(),
        );
        registry.register(
            "credentials",
            "Stored credentials that are applied, by kind",
            metrics.credentials.clone(),
        );
        registry.register(
            "credentials_withheld",
            "Stored credentials for which this node has no room, by collection",
            metrics.withheld.clone(),
        );
        registry.register(
            "policies",
            "Stored policies that are applied, by status",
            metrics.policies.clone(),
        );
        registry.register(
            "policy_unsatisfied",
            "Requests refused because the policy of their caller cannot be applied to it",
            metrics.unsatisfied.clone(),
        );
        registry.register(
            "tickets",
            "Tickets made, and presented, by outcome",
            metrics.tickets.clone(),
        );
        registry.register(
            "key_uses",
            "Uses of keys that were to be written down, by outcome",
            metrics.uses.clone(),
        );
        registry.register(
            "refreshes",
            "Refreshes of the credentials of open connections, by outcome",
            metrics.refreshes.clone(),
        );
        registry.register(
            "revocations",
            "Revocations that are applied",
            metrics.revocations.clone(),
        );
        registry.register(
            "limited",
            "Requests and TCP connections refused by a limit on all, one address or one tenant, by limit",
            metrics.limited.clone(),
        );
        registry.register(
            "insecure",
            "1 if this node runs as only the setting insecure allows",
            metrics.insecure.clone(),
        );
        let end = CertificateEnd::clone(&metrics.certificate_end);
        registry.register_collector(Box::new(CertificateCollector(end)));
        metrics
    }

    /// Sets the end of the certificate in use, in seconds since 1970.
    pub(crate) fn certificate_ends(&self, seconds: i64) {
        self.certificate_end.store(seconds, Ordering::Relaxed);
    }

    /// Counts something that a limit refused.
    pub(crate) fn limited(&self, what: &'static str) {
        self.limited.get_or_create(&What { what }).inc();
    }

    /// Counts a request that was judged by its credential.
    pub(crate) fn judged(&self, kind: &'static str, outcome: &'static str) {
        let labels = KindAndOutcome { kind, outcome };
        self.proofs.get_or_create(&labels).inc();
    }

    /// Sets the number of documents of a collection for which there is no room.
    pub(crate) fn withheld(&self, kind: &'static str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.withheld.get_or_create(&Kind { kind }).set(count);
    }

    /// Sets the number of policies of a status.
    pub(crate) fn policies(&self, status: &'static str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.policies.get_or_create(&Status { status }).set(count);
    }

    /// Counts a ticket that was made or presented.
    pub(crate) fn ticket(&self, outcome: &'static str) {
        self.tickets.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts uses of keys that were to be written down.
    pub(crate) fn used(&self, outcome: &'static str, count: usize) {
        let uses = self.uses.get_or_create(&Outcome { outcome });
        uses.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Counts a refresh of an open connection's credential.
    pub(crate) fn refreshed(&self, outcome: &'static str) {
        self.refreshes.get_or_create(&Outcome { outcome }).inc();
    }

    /// Sets the number of credentials of a kind.
    pub(crate) fn stored(&self, kind: &'static str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.credentials.get_or_create(&Kind { kind }).set(count);
    }
}
