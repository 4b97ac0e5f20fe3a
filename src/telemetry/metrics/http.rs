//! Metrics of requests and of the TCP connections that bring them.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::labels::{Cause, Of, OfAndReason, Reason, Request, Task};

/// A number that goes up and down.
pub(crate) type Level = Gauge<u64, AtomicU64>;

/// Metrics of requests and of the TCP connections that bring them.
#[derive(Debug)]
pub(crate) struct HttpMetrics {
    requests: Family<Request, Counter>,
    connections_failed: Family<Cause, Counter>,
    client_task_panics: Family<Task, Counter>,
    /// TCP connections that hold a permit.
    pub(crate) tcp_connections: Gauge<i64, AtomicI64>,
    tcp_connections_refused: Family<Reason, Counter>,
    /// Requests of trusted proxies whose header names no address.
    pub(crate) forwarded_unusable: Counter,
    held: Family<Of, Level>,
    held_refused: Family<OfAndReason, Counter>,
}

impl HttpMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            connections_failed: Family::default(),
            client_task_panics: Family::default(),
            tcp_connections: Gauge::default(),
            tcp_connections_refused: Family::default(),
            forwarded_unusable: Counter::default(),
            held: Family::default(),
            held_refused: Family::default(),
        };
        let requests = metrics.requests.clone();
        registry.register("http_requests", "Requests answered", requests);
        let failed = metrics.connections_failed.clone();
        registry.register(
            "http_connections_failed",
            "HTTP connections that ended badly, by cause",
            failed,
        );
        let panics = metrics.client_task_panics.clone();
        registry.register(
            "client_task_panics",
            "Panics in a single client's task, by task",
            panics,
        );
        let tcp = metrics.tcp_connections.clone();
        registry.register("tcp_connections", "TCP connections open now", tcp);
        let refused = metrics.tcp_connections_refused.clone();
        registry.register(
            "tcp_connections_refused",
            "TCP connections refused, by the limit that was reached",
            refused,
        );
        registry.register(
            "forwarded_unusable",
            "Requests of trusted proxies whose header names no address",
            metrics.forwarded_unusable.clone(),
        );
        let held = metrics.held.clone();
        registry.register_with_unit(
            "http_held",
            "Bytes held by request bodies and answers",
            Unit::Bytes,
            held,
        );
        let refused = metrics.held_refused.clone();
        registry.register(
            "http_held_refused",
            "Requests refused because bodies or answers held too many bytes",
            refused,
        );
        metrics
    }

    /// Counts an answered request. `route` is the route's pattern, never the path itself.
    pub(crate) fn request(&self, method: &str, route: &str, status: u16) {
        const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
        let method = METHODS
            .into_iter()
            .find(|known| *known == method)
            .unwrap_or("other");
        let labels = Request {
            method,
            route: route.to_owned(),
            status,
        };
        self.requests.get_or_create(&labels).inc();
    }

    /// Counts an HTTP connection that ended badly before it became a socket.
    pub(crate) fn connection_failed(&self, cause: &'static str) {
        self.connections_failed
            .get_or_create(&Cause { cause })
            .inc();
    }

    /// Counts a TCP connection that got no permit.
    pub(crate) fn tcp_connection_refused(&self, reason: &'static str) {
        self.tcp_connections_refused
            .get_or_create(&Reason { reason })
            .inc();
    }

    /// Returns the gauge of the bytes that requests hold together of one kind.
    pub(crate) fn held(&self, of: &'static str) -> Level {
        self.held.get_or_create(&Of { of }).clone()
    }

    /// Counts a request that was refused for the bytes that it would have held.
    pub(crate) fn held_refused(&self, of: &'static str, reason: &'static str) {
        self.held_refused
            .get_or_create(&OfAndReason { of, reason })
            .inc();
    }

    /// Counts a panic in the task of one client.
    pub(crate) fn client_task_panicked(&self, task: &'static str) {
        self.client_task_panics.get_or_create(&Task { task }).inc();
    }
}
