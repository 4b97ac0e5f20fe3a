//! Permits for TCP connections, held for as long as those are open.

use std::sync::Arc;

use crate::telemetry::Metrics;

/// The permits of one address: it has as many TCP connections as there are [permits](TcpPermit).
#[derive(Debug)]
pub(crate) struct AddressPermits {
    metrics: Arc<Metrics>,
}

impl AddressPermits {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { metrics })
    }

    /// Returns the number of permits that are taken.
    pub(crate) fn taken(self: &Arc<Self>) -> usize {
        Arc::strong_count(self) - 1
    }

    /// Takes one more permit.
    pub(crate) fn take(self: &Arc<Self>) -> TcpPermit {
        self.metrics.http.tcp_connections.inc();
        TcpPermit(Arc::clone(self))
    }
}

/// The permit of one TCP connection, free again when this is dropped. Small: every open socket holds one.
#[derive(Debug)]
pub(crate) struct TcpPermit(Arc<AddressPermits>);

impl Drop for TcpPermit {
    fn drop(&mut self) {
        self.0.metrics.http.tcp_connections.dec();
    }
}
