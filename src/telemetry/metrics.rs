//! Prometheus metrics. Names begin with `tidegate_`; no label has unbounded values.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64},
    },
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, text::encode},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::{protocol::Ending, subscription::Status};

/// The content type of [`Metrics::encode`].
pub const OPENMETRICS_CONTENT_TYPE: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How many connections were opened and how they ended: `opened = open + Σ closed`, always.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Books {
    /// Connections that were opened since the start.
    pub opened: u64,
    /// Connections that are open.
    pub open: u64,
    closed: [u64; Ending::ALL.len()],
}

impl Books {
    /// Counts a connection in.
    pub fn open(&mut self) {
        self.opened += 1;
        self.open += 1;
    }

    /// Counts a connection out.
    pub fn close(&mut self, ending: Ending) {
        self.open -= 1;
        self.closed[ending as usize] += 1;
    }

    /// Connections that ended for this reason.
    pub fn closed(&self, ending: Ending) -> u64 {
        self.closed[ending as usize]
    }

    /// Connections that ended.
    pub fn closed_in_all(&self) -> u64 {
        self.closed.iter().sum()
    }
}

/// What the router owns and metrics show: replaced as a whole, so that one scrape is consistent.
#[derive(Clone, Copy, Default, Debug)]
pub struct Figures {
    /// Connections opened and closed.
    pub books: Books,
    /// Subscriptions by status, in the order of [`Status::ALL`].
    pub subscriptions: [u64; Status::ALL.len()],
}

/// Labels of `http_requests_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

/// Every metric of a node.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    figures: Arc<Mutex<Figures>>,
    /// Events read from the feed.
    pub events_received: Counter,
    /// Events that at least one subscription matched.
    pub events_matched: Counter,
    /// Events that could not be decoded or written as JSON; none of them was delivered.
    pub events_undecodable: Counter,
    /// Event frames written to sockets.
    pub deliveries: Counter,
    /// Bytes waiting in all outboxes.
    pub outbox_bytes: Gauge<i64, AtomicI64>,
    /// Times the router waited for a full outbox.
    pub router_waits: Counter,
    /// How far the router is behind the database, in seconds.
    pub feed_lag: Gauge<f64, AtomicU64>,
    feed_resumes: Family<CauseLabel, Counter>,
    feed_reloads: Family<CauseLabel, Counter>,
    feed_oddities: Family<OperationLabel, Counter>,
    http_requests: Family<HttpLabels, Counter>,
    http_connections_failed: Family<CauseLabel, Counter>,
    /// From the commit's wall time on the server to its receipt here (two clocks).
    pub commit_to_receipt: Histogram,
    /// From receipt to the end of matching and hand-over.
    pub receipt_to_match: Histogram,
    /// From hand-over to the kernel having taken the bytes.
    pub match_to_socket: Histogram,
}

/// Shows [`Figures`] as metric families, all from one reading.
#[derive(Debug)]
struct FiguresCollector(Arc<Mutex<Figures>>);

impl Collector for FiguresCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let figures = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = ConstCounter::new(figures.books.opened);
        opened.encode(encoder.encode_descriptor(
            "connections_opened",
            "Connections opened",
            None,
            opened.metric_type(),
        )?)?;
        let open = ConstGauge::new(figures.books.open);
        open.encode(encoder.encode_descriptor(
            "connections",
            "Connections open now",
            None,
            open.metric_type(),
        )?)?;
        let mut closed = encoder.encode_descriptor(
            "connections_closed",
            "Connections ended, by reason",
            None,
            opened.metric_type(),
        )?;
        for ending in Ending::ALL {
            let counter = ConstCounter::new(figures.books.closed(ending));
            counter.encode(closed.encode_family(&[("reason", ending.token())])?)?;
        }
        let mut subscriptions = encoder.encode_descriptor(
            "subscriptions",
            "Subscriptions known to this node, by status",
            None,
            open.metric_type(),
        )?;
        for (status, count) in Status::ALL.into_iter().zip(figures.subscriptions) {
            let gauge = ConstGauge::new(count);
            gauge.encode(subscriptions.encode_family(&[("status", status.as_str())])?)?;
        }
        Ok(())
    }
}

fn latency_buckets() -> impl Iterator<Item = f64> {
    exponential_buckets(0.000_05, 2.0, 20)
}

impl Default for Metrics {
    fn default() -> Self {
        let figures = Arc::new(Mutex::new(Figures::default()));
        let mut metrics = Self {
            registry: Registry::with_prefix("tidegate"),
            figures: Arc::clone(&figures),
            events_received: Counter::default(),
            events_matched: Counter::default(),
            events_undecodable: Counter::default(),
            deliveries: Counter::default(),
            outbox_bytes: Gauge::default(),
            router_waits: Counter::default(),
            feed_lag: Gauge::default(),
            feed_resumes: Family::default(),
            feed_reloads: Family::default(),
            feed_oddities: Family::default(),
            http_requests: Family::default(),
            http_connections_failed: Family::default(),
            commit_to_receipt: Histogram::new(latency_buckets()),
            receipt_to_match: Histogram::new(latency_buckets()),
            match_to_socket: Histogram::new(latency_buckets()),
        };
        metrics
            .registry
            .register_collector(Box::new(FiguresCollector(figures)));
        metrics.register_all();
        metrics
    }
}

impl Metrics {
    fn register_all(&mut self) {
        let r = &mut self.registry;
        r.register(
            "events_received",
            "Events read from the feed",
            self.events_received.clone(),
        );
        r.register(
            "events_matched",
            "Events matched by a subscription",
            self.events_matched.clone(),
        );
        r.register(
            "events_undecodable",
            "Events that could not be decoded",
            self.events_undecodable.clone(),
        );
        r.register(
            "deliveries",
            "Event frames written to sockets",
            self.deliveries.clone(),
        );
        r.register_with_unit(
            "outbox",
            "Bytes waiting in outboxes",
            Unit::Bytes,
            self.outbox_bytes.clone(),
        );
        r.register(
            "router_waits",
            "Waits of the router for an outbox",
            self.router_waits.clone(),
        );
        r.register_with_unit(
            "feed_lag",
            "How far the router is behind the database",
            Unit::Seconds,
            self.feed_lag.clone(),
        );
        r.register(
            "feed_resumes",
            "Change streams reopened, by cause",
            self.feed_resumes.clone(),
        );
        r.register(
            "feed_reloads",
            "Loads of all subscriptions, by cause",
            self.feed_reloads.clone(),
        );
        r.register(
            "feed_oddities",
            "Changes outside the ordinary, by operation",
            self.feed_oddities.clone(),
        );
        r.register(
            "http_requests",
            "Requests answered",
            self.http_requests.clone(),
        );
        r.register(
            "http_connections_failed",
            "HTTP connections that ended badly, by cause",
            self.http_connections_failed.clone(),
        );
        for (name, help, histogram) in [
            (
                "commit_to_receipt",
                "From commit to receipt (two clocks)",
                &self.commit_to_receipt,
            ),
            (
                "receipt_to_match",
                "From receipt to hand-over",
                &self.receipt_to_match,
            ),
            (
                "match_to_socket",
                "From hand-over to the socket",
                &self.match_to_socket,
            ),
        ] {
            r.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
    }

    /// Replaces what the router owns.
    pub fn set_figures(&self, figures: Figures) {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }

    /// What the router last reported.
    pub fn figures(&self) -> Figures {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a reopening of the change stream.
    pub fn feed_resumed(&self, cause: &'static str) {
        self.feed_resumes.get_or_create(&CauseLabel { cause }).inc();
    }

    /// Counts a load of all subscriptions.
    pub fn feed_reloaded(&self, cause: &'static str) {
        self.feed_reloads.get_or_create(&CauseLabel { cause }).inc();
    }

    /// Counts a change that is not an ordinary insert, update or delete.
    pub fn feed_oddity(&self, operation: &'static str) {
        self.feed_oddities
            .get_or_create(&OperationLabel { operation })
            .inc();
    }

    /// Counts an answered request. `route` is the route's pattern, never the path itself.
    pub fn http_request(&self, method: &str, route: &str, status: u16) {
        const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
        let method = METHODS
            .into_iter()
            .find(|known| *known == method)
            .unwrap_or("other");
        let labels = HttpLabels {
            method,
            route: route.to_owned(),
            status,
        };
        self.http_requests.get_or_create(&labels).inc();
    }

    /// Counts an HTTP connection that ended badly before it became a socket.
    pub fn http_connection_failed(&self, cause: &'static str) {
        self.http_connections_failed
            .get_or_create(&CauseLabel { cause })
            .inc();
    }

    /// Observes a latency in one of the stage histograms.
    pub fn observe(histogram: &Histogram, elapsed: Duration) {
        histogram.observe(elapsed.as_secs_f64());
    }

    /// All metrics in the `OpenMetrics` text format.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        match encode(&mut out, &self.registry) {
            Ok(()) => out,
            Err(error) => format!("# {error}\n# EOF\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metric_names_of_the_contract_are_exposed() {
        let metrics = Metrics::default();
        let mut books = Books::default();
        books.open();
        books.open();
        books.close(Ending::Deleted);
        metrics.set_figures(Figures {
            books,
            subscriptions: [3, 2, 1],
        });
        metrics.feed_resumed("error");
        metrics.http_request("BREW", "/pot", 418);
        let text = metrics.encode();
        for line in [
            "tidegate_connections_opened_total 2",
            "tidegate_connections 1",
            "tidegate_connections_closed_total{reason=\"deleted\"} 1",
            "tidegate_subscriptions{status=\"active\"} 3",
            "tidegate_events_received_total 0",
            "tidegate_events_matched_total 0",
            "tidegate_deliveries_total 0",
            "tidegate_outbox_bytes 0",
            "tidegate_feed_lag_seconds 0.0",
            "tidegate_feed_resumes_total{cause=\"error\"} 1",
            "tidegate_http_requests_total{method=\"other\",route=\"/pot\",status=\"418\"} 1",
            "tidegate_commit_to_receipt_seconds_count 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
