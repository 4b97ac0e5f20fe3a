//! Prometheus metrics of a node, in groups by what they measure.
//!
//! Names begin with `tidegate_`. No label has unbounded values. `docs/monitoring.md` lists all of them.

mod access;
mod bytes;
mod certificate;
mod delivery;
mod feed;
mod figures;
mod http;
mod issuers;
mod labels;
mod positions;
mod receipts;
mod replay;
mod store;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::text::encode,
    metrics::histogram::{Histogram, exponential_buckets},
    registry::Registry,
};

pub(crate) use self::http::Level;
use self::{
    access::AccessMetrics,
    delivery::DeliveryMetrics,
    feed::FeedMetrics,
    figures::{Figures, FiguresCollector},
    http::HttpMetrics,
    issuers::IssuerMetrics,
    positions::PositionMetrics,
    receipts::ReceiptMetrics,
    replay::ReplayMetrics,
    store::StoreMetrics,
};

/// The content type of [`Metrics::encode`].
pub(crate) const OPENMETRICS_CONTENT_TYPE: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every metric of a node.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    figures: Arc<Mutex<Figures>>,
    pub(crate) access: AccessMetrics,
    pub(crate) delivery: DeliveryMetrics,
    pub(crate) feed: FeedMetrics,
    pub(crate) http: HttpMetrics,
    pub(crate) issuers: IssuerMetrics,
    pub(crate) positions: PositionMetrics,
    pub(crate) receipts: ReceiptMetrics,
    pub(crate) replay: ReplayMetrics,
    pub(crate) store: StoreMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("tidegate");
        let figures = Arc::new(Mutex::new(Figures::default()));
        let collector = FiguresCollector(Arc::clone(&figures));
        registry.register_collector(Box::new(collector));
        Self {
            figures,
            access: AccessMetrics::register(&mut registry),
            delivery: DeliveryMetrics::register(&mut registry),
            feed: FeedMetrics::register(&mut registry),
            http: HttpMetrics::register(&mut registry),
            issuers: IssuerMetrics::register(&mut registry),
            positions: PositionMetrics::register(&mut registry),
            receipts: ReceiptMetrics::register(&mut registry),
            replay: ReplayMetrics::register(&mut registry),
            store: StoreMetrics::register(&mut registry),
            registry,
        }
    }
}

impl Metrics {
    /// Returns the number of open connections.
    pub(crate) fn open_connections(&self) -> u64 {
        let figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        figures.open
    }

    /// Changes the figures as a whole: a scrape sees all of the change or none of it.
    pub(crate) fn update_figures(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut self.figures.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Observes a time in a histogram of seconds.
    pub(crate) fn observe(histogram: &Histogram, elapsed: Duration) {
        histogram.observe(elapsed.as_secs_f64());
    }

    /// Writes all metrics in the `OpenMetrics` text format.
    pub(crate) fn encode(&self) -> String {
        let mut out = String::new();
        match encode(&mut out, &self.registry) {
            Ok(()) => out,
            Err(error) => format!("# {error}\n# EOF\n"),
        }
    }
}

/// Returns a histogram for times from 50 µs to half a minute.
fn latency_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 2.0, 20))
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
                channels_opened: 5,
                channels: 3,
                channels_closed: vec![("unsubscribed", 2)],
                subscriptions: vec![("active", 3)],
                filters_scanned: 2,
            };
        });
        metrics.feed.resumed("error");
        metrics.http.held("bodies").inc_by(5);
        metrics.http.held_refused("answers", "overloaded");
        metrics.http.request("BREW", "/pot", 418);
        let text = metrics.encode();
        for line in [
            "tidegate_connections_opened_total 2",
            "tidegate_connections 1",
            "tidegate_connections_closed_total{reason=\"deleted\"} 1",
            "tidegate_channels_opened_total 5",
            "tidegate_channels 3",
            "tidegate_channels_closed_total{reason=\"unsubscribed\"} 2",
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
        metrics.positions.ack_ignored("ahead");
        metrics.feed.resumed("error");
        metrics.feed.reloaded("start");
        metrics.feed.oddity("drop");
        metrics.store.unreadable_document("events");
        metrics.http.request("GET", "/", 200);
        metrics.http.connection_failed("accept");
        metrics.http.tcp_connection_refused("node");
        metrics.http.client_task_panicked("socket");
        metrics.http.held("bodies");
        metrics.http.held_refused("bodies", "overloaded");
        metrics.access.judged("key", "ok");
        metrics.access.stored("key", 1);
        metrics.access.withheld("keys", 1);
        metrics.access.refreshed("ok");
        metrics.access.ticket("made");
        metrics.access.used("written", 1);
        metrics.access.policies("active", 1);
        metrics.access.limited("tcp_connections");
        metrics.access.certificate_ends(1);
        metrics.issuers.read("main", "ok");
        metrics.issuers.has_keys("main", 1, 0);
        metrics.receipts.torn_down("key", Duration::ZERO);
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
