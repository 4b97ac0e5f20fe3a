//! Prometheus metrics. Names begin with `tidegate_`; no label has unbounded values.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::Lag;
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

/// The content type of [`Metrics::encode`].
pub const OPENMETRICS_CONTENT_TYPE: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the router owns and metrics show: changed as a whole, so that one scrape is consistent.
#[derive(Clone, Default, Debug)]
pub struct Figures {
    /// Connections that were opened since the start.
    pub opened: u64,
    /// Connections that are open.
    pub open: u64,
    /// Connections that ended, by reason.
    pub closed: Vec<(&'static str, u64)>,
    /// Subscriptions, by status.
    pub subscriptions: Vec<(&'static str, u64)>,
    /// Filters that the index can only try one by one.
    pub filters_scanned: u64,
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
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabel {
    task: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CollectionLabel {
    collection: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HeldLabel {
    of: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HeldRefusedLabels {
    of: &'static str,
    reason: &'static str,
}

/// A number that goes up and down.
pub type Level = Gauge<u64, AtomicU64>;

/// Every metric of a node.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    figures: Arc<Mutex<Figures>>,
    /// Events read from the feed.
    pub events_received: Counter,
    /// Events that at least one subscription matched.
    pub events_matched: Counter,
    /// Events with something that is not UTF-8, or that cannot be read: delivered with U+FFFD in its place,
    /// and counted for each dialect.
    pub events_undecodable: Counter,
    /// Event frames written to sockets.
    pub deliveries: Counter,
    /// Subscriptions that became invalid since their filters could not be matched with an event.
    pub filters_blamed: Counter,
    /// Subscriptions skipped on an event: because other filters took too much, or in a replay.
    pub filters_undecided: Counter,
    /// Steps of those filters together that took more than is ordinary on an event.
    dear_steps: Histogram,
    /// Bytes waiting for all connections together; what several wait for counts once.
    pub waiting_bytes: Arc<AtomicU64>,
    /// Bytes kept of the recent past, for clients that come back.
    pub window_bytes: Arc<AtomicU64>,
    /// Times the router waited for a full outbox.
    pub router_waits: Counter,
    /// How far this node is behind the database.
    pub lag: Lag,
    /// Change streams opened for replays.
    pub replay_streams: Counter,
    /// How far back the oplog reaches, in seconds; not a number where that cannot be read.
    pub oplog_window: Gauge<f64, AtomicU64>,
    /// Positions of durable subscriptions that the oplog soon will not reach, or does not already.
    pub positions_at_risk: Gauge<i64, AtomicI64>,
    /// Archive pages read for replays.
    pub replay_pages: Counter,
    /// From the attach to live, of connections that replayed.
    pub replay: Histogram,
    /// Acknowledgements accepted.
    pub acks: Counter,
    /// Batched writes of positions.
    pub position_writes: Counter,
    /// Receipts written.
    pub receipts_written: Counter,
    /// Receipts given up, because too many waited to be written.
    pub receipts_lost: Counter,
    acks_ignored: Family<CauseLabel, Counter>,
    feed_resumes: Family<CauseLabel, Counter>,
    feed_reloads: Family<CauseLabel, Counter>,
    feed_oddities: Family<OperationLabel, Counter>,
    unreadable_documents: Family<CollectionLabel, Counter>,
    http_requests: Family<HttpLabels, Counter>,
    http_connections_failed: Family<CauseLabel, Counter>,
    client_task_panics: Family<TaskLabel, Counter>,
    /// TCP connections that have a place.
    pub tcp_connections: Gauge<i64, AtomicI64>,
    tcp_connections_refused: Family<ReasonLabel, Counter>,
    held: Family<HeldLabel, Level>,
    held_refused: Family<HeldRefusedLabels, Counter>,
    /// From the commit's wall time on the server to its receipt here (two clocks).
    pub commit_to_receipt: Histogram,
    /// From receipt to the end of matching and hand-over.
    pub receipt_to_match: Histogram,
    /// From hand-over to the kernel having taken the bytes.
    pub match_to_socket: Histogram,
}

/// Shows [`Figures`] as metric families, all from one reading.
#[derive(Debug)]
struct FiguresCollector {
    figures: Arc<Mutex<Figures>>,
    lag: Lag,
    waiting_bytes: Arc<AtomicU64>,
    window_bytes: Arc<AtomicU64>,
}

impl Collector for FiguresCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = ConstCounter::new(figures.opened);
        opened.encode(encoder.encode_descriptor(
            "connections_opened",
            "Connections opened",
            None,
            opened.metric_type(),
        )?)?;
        let open = ConstGauge::new(figures.open);
        open.encode(encoder.encode_descriptor(
            "connections",
            "Connections open now",
            None,
            open.metric_type(),
        )?)?;
        for (name, help, bytes) in [
            (
                "outbox",
                "Bytes waiting in outboxes; shared ones count once",
                &self.waiting_bytes,
            ),
            (
                "feed_window",
                "Bytes of the backlog: recent changes in memory, for replays",
                &self.window_bytes,
            ),
        ] {
            let bytes = ConstGauge::new(bytes.load(Ordering::Relaxed));
            bytes.encode(encoder.encode_descriptor(
                name,
                help,
                Some(&Unit::Bytes),
                bytes.metric_type(),
            )?)?;
        }
        let lag = ConstGauge::new(self.lag.now().as_secs_f64());
        lag.encode(encoder.encode_descriptor(
            "feed_lag",
            "Age of the oldest change that this node has not applied",
            Some(&Unit::Seconds),
            lag.metric_type(),
        )?)?;
        let mut closed = encoder.encode_descriptor(
            "connections_closed",
            "Connections ended, by reason",
            None,
            opened.metric_type(),
        )?;
        for (reason, count) in &figures.closed {
            let counter = ConstCounter::new(*count);
            counter.encode(closed.encode_family(&[("reason", *reason)])?)?;
        }
        let scanned = ConstGauge::new(figures.filters_scanned);
        scanned.encode(encoder.encode_descriptor(
            "filters_scanned",
            "Filters without a usable predicate, tried on every event",
            None,
            open.metric_type(),
        )?)?;
        let mut subscriptions = encoder.encode_descriptor(
            "subscriptions",
            "Subscriptions known to this node, by status",
            None,
            open.metric_type(),
        )?;
        for (status, count) in &figures.subscriptions {
            let gauge = ConstGauge::new(*count);
            gauge.encode(subscriptions.encode_family(&[("status", *status)])?)?;
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
        let waiting_bytes = Arc::new(AtomicU64::default());
        let window_bytes = Arc::new(AtomicU64::default());
        let lag = Lag::default();
        let mut metrics = Self {
            registry: Registry::with_prefix("tidegate"),
            figures: Arc::clone(&figures),
            events_received: Counter::default(),
            events_matched: Counter::default(),
            events_undecodable: Counter::default(),
            deliveries: Counter::default(),
            filters_blamed: Counter::default(),
            filters_undecided: Counter::default(),
            dear_steps: Histogram::new(exponential_buckets(1e6, 2.0, 11)),
            waiting_bytes: Arc::clone(&waiting_bytes),
            window_bytes: Arc::clone(&window_bytes),
            router_waits: Counter::default(),
            lag: lag.clone(),
            replay_streams: Counter::default(),
            oplog_window: Gauge::default(),
            positions_at_risk: Gauge::default(),
            replay_pages: Counter::default(),
            replay: Histogram::new(latency_buckets()),
            acks: Counter::default(),
            position_writes: Counter::default(),
            receipts_written: Counter::default(),
            receipts_lost: Counter::default(),
            acks_ignored: Family::default(),
            feed_resumes: Family::default(),
            feed_reloads: Family::default(),
            feed_oddities: Family::default(),
            unreadable_documents: Family::default(),
            http_requests: Family::default(),
            http_connections_failed: Family::default(),
            client_task_panics: Family::default(),
            tcp_connections: Gauge::default(),
            tcp_connections_refused: Family::default(),
            held: Family::default(),
            held_refused: Family::default(),
            commit_to_receipt: Histogram::new(latency_buckets()),
            receipt_to_match: Histogram::new(latency_buckets()),
            match_to_socket: Histogram::new(latency_buckets()),
        };
        metrics
            .registry
            .register_collector(Box::new(FiguresCollector {
                figures,
                lag,
                waiting_bytes,
                window_bytes,
            }));
        metrics.register_all();
        metrics
    }
}

impl Metrics {
    fn register_all(&mut self) {
        self.register_counters();
        self.register_families();
        self.register_measures();
    }

    fn register_counters(&mut self) {
        for (name, help, counter) in [
            (
                "events_received",
                "Events read from the feed",
                &self.events_received,
            ),
            (
                "events_matched",
                "Events matched by a subscription",
                &self.events_matched,
            ),
            (
                "events_undecodable",
                "Events delivered with U+FFFD in place of what is not UTF-8",
                &self.events_undecodable,
            ),
            (
                "deliveries",
                "Event frames written to sockets",
                &self.deliveries,
            ),
            (
                "filters_blamed",
                "Subscriptions made invalid because an event could not be matched with their filters",
                &self.filters_blamed,
            ),
            (
                "filters_undecided",
                "Subscriptions skipped on an event: because other filters took too much, or in a replay",
                &self.filters_undecided,
            ),
            (
                "router_waits",
                "Times the router waited for an outbox",
                &self.router_waits,
            ),
            ("acks", "Acknowledgements accepted", &self.acks),
            (
                "position_writes",
                "Batched writes of positions",
                &self.position_writes,
            ),
            (
                "receipts_written",
                "Receipts written",
                &self.receipts_written,
            ),
            ("receipts_lost", "Receipts given up", &self.receipts_lost),
            (
                "replay_pages",
                "Archive pages read for replays",
                &self.replay_pages,
            ),
            (
                "replay_streams",
                "Change streams opened for replays",
                &self.replay_streams,
            ),
        ] {
            self.registry.register(name, help, counter.clone());
        }
    }

    fn register_families(&mut self) {
        let r = &mut self.registry;
        let resumes = self.feed_resumes.clone();
        r.register("feed_resumes", "Change streams reopened, by cause", resumes);
        let reloads = self.feed_reloads.clone();
        r.register(
            "feed_reloads",
            "Loads of all subscriptions, by cause",
            reloads,
        );
        let oddities = self.feed_oddities.clone();
        r.register(
            "feed_oddities",
            "Unusual changes in the feed, by operation",
            oddities,
        );
        let unreadable = self.unreadable_documents.clone();
        r.register(
            "unreadable_documents",
            "Reads of this service's documents that failed, by collection",
            unreadable,
        );
        let requests = self.http_requests.clone();
        r.register("http_requests", "Requests answered", requests);
        let failed = self.http_connections_failed.clone();
        r.register(
            "http_connections_failed",
            "HTTP connections cut, by cause",
            failed,
        );
        let panics = self.client_task_panics.clone();
        r.register(
            "client_task_panics",
            "Panics in a single client's task, by task",
            panics,
        );
        let refused = self.tcp_connections_refused.clone();
        r.register(
            "tcp_connections_refused",
            "TCP connections refused, by the limit that was reached",
            refused,
        );
        let held = self.held.clone();
        r.register_with_unit(
            "http_held",
            "Bytes held by request bodies and answers",
            Unit::Bytes,
            held,
        );
        let refused = self.held_refused.clone();
        r.register(
            "http_held_refused",
            "Requests refused because bodies or answers held too many bytes",
            refused,
        );
        let ignored = self.acks_ignored.clone();
        r.register(
            "acks_ignored",
            "Acknowledgements ignored, by cause",
            ignored,
        );
    }

    fn register_measures(&mut self) {
        let r = &mut self.registry;
        r.register(
            "event_dear_steps",
            "Filter steps on events that took unusually many",
            self.dear_steps.clone(),
        );
        let risk = self.positions_at_risk.clone();
        r.register(
            "positions_at_risk",
            "Acknowledged positions that the oplog soon no longer reaches",
            risk,
        );
        let tcp = self.tcp_connections.clone();
        r.register("tcp_connections", "TCP connections open now", tcp);
        let window = self.oplog_window.clone();
        r.register_with_unit(
            "oplog_window",
            "How far back the oplog reaches",
            Unit::Seconds,
            window,
        );
        for (name, help, histogram) in [
            (
                "replay",
                "From attach to live, for connections with a replay",
                &self.replay,
            ),
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

    /// Connections that are open.
    pub fn open_connections(&self) -> u64 {
        let figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        figures.open
    }

    /// Changes what the router owns, all of it before the next scrape sees any.
    pub fn update_figures(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut self.figures.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Counts an acknowledgement that cannot be taken.
    pub fn ack_ignored(&self, cause: &'static str) {
        self.acks_ignored.get_or_create(&CauseLabel { cause }).inc();
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

    /// Counts a document in a collection of ours that could not be read.
    pub fn unreadable_document(&self, collection: &'static str) {
        self.unreadable_documents
            .get_or_create(&CollectionLabel { collection })
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

    /// Counts a TCP connection for which there was no place.
    pub fn tcp_connection_refused(&self, reason: &'static str) {
        self.tcp_connections_refused
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }

    /// The bytes that requests hold together of one thing.
    pub fn held(&self, of: &'static str) -> Level {
        self.held.get_or_create(&HeldLabel { of }).clone()
    }

    /// Counts a request that was refused for the bytes that it would have held.
    pub fn held_refused(&self, of: &'static str, reason: &'static str) {
        self.held_refused
            .get_or_create(&HeldRefusedLabels { of, reason })
            .inc();
    }

    /// Counts a panic in the task of one client.
    pub fn client_task_panicked(&self, task: &'static str) {
        self.client_task_panics
            .get_or_create(&TaskLabel { task })
            .inc();
    }

    /// Observes what filters took on an event beyond the ordinary.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub fn observe_dear(&self, steps: u64) {
        self.dear_steps.observe(steps as f64);
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
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_metric_names_of_the_contract_are_exposed() {
        let metrics = Metrics::default();
        metrics.update_figures(|figures| {
            *figures = Figures {
                opened: 2,
                open: 1,
                closed: vec![("deleted", 1)],
                subscriptions: vec![("active", 3)],
                filters_scanned: 2,
            };
        });
        metrics.feed_resumed("error");
        metrics.held("bodies").inc_by(5);
        metrics.held_refused("answers", "overloaded");
        metrics.http_request("BREW", "/pot", 418);
        let text = metrics.encode();
        for line in [
            "tidegate_connections_opened_total 2",
            "tidegate_connections 1",
            "tidegate_connections_closed_total{reason=\"deleted\"} 1",
            "tidegate_subscriptions{status=\"active\"} 3",
            "tidegate_filters_scanned 2",
            "tidegate_events_received_total 0",
            "tidegate_events_matched_total 0",
            "tidegate_deliveries_total 0",
            "tidegate_outbox_bytes 0",
            "tidegate_feed_lag_seconds 0.0",
            "tidegate_feed_resumes_total{cause=\"error\"} 1",
            "tidegate_http_requests_total{method=\"other\",route=\"/pot\",status=\"418\"} 1",
            "tidegate_http_held_bytes{of=\"bodies\"} 5",
            "tidegate_http_held_refused_total{of=\"answers\",reason=\"overloaded\"} 1",
            "tidegate_commit_to_receipt_seconds_count 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    /// Every metric, under the name that a query has, once each label has a value.
    fn names() -> BTreeSet<String> {
        let metrics = Metrics::default();
        metrics.ack_ignored("ahead");
        metrics.feed_resumed("error");
        metrics.feed_reloaded("start");
        metrics.feed_oddity("drop");
        metrics.unreadable_document("events");
        metrics.http_request("GET", "/", 200);
        metrics.http_connection_failed("accept");
        metrics.tcp_connection_refused("node");
        metrics.client_task_panicked("socket");
        metrics.held("bodies");
        metrics.held_refused("bodies", "overloaded");
        let shown = metrics.encode();
        let types = shown
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "));
        let named = types.map(|line| match line.split_once(' ').unwrap() {
            (name, "counter") => format!("{name}_total"),
            (name, _) => name.to_owned(),
        });
        named.collect()
    }

    #[test]
    fn the_page_of_the_metrics_has_all_of_them_and_no_other() {
        let page = include_str!("../../docs/monitoring.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
        let listed: BTreeSet<String> = rows
            .filter_map(|row| row.split(['`', '{']).next())
            .map(str::to_owned)
            .collect();
        assert_eq!(listed, names());
        // What its queries ask for is one of them.
        let words = page.split(|c: char| !c.is_ascii_lowercase() && c != '_');
        for word in words.filter(|word| word.starts_with("tidegate_")) {
            let base = word.trim_end_matches("_bucket");
            assert!(listed.contains(base), "{word}");
        }
    }
}
