//! The result of a run: a table for people, one line of JSON for programs.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use serde_json::{Value, json};

use super::{
    plan::{Plan, Rate},
    publisher::Published,
    sockets::Sockets,
};
use crate::{
    cli::{
        failure::Failure,
        style::{self, STRONG, WARN, paint},
    },
    client::counting::SocketEnd,
    protocol::Ending,
};

/// The share of the wanted rate from which on it counts as kept.
const KEPT: f64 = 0.98;

/// All figures of a run.
pub(super) struct Report {
    connections: u64,
    /// Handles that got their `connected`, on sockets for many.
    handles: Option<u64>,
    opening: Duration,
    accepted: u64,
    publishing: Duration,
    messages: u64,
    expected: u64,
    bytes: u64,
    /// From the first request to the last message.
    delivering: Duration,
    samples: usize,
    /// p50, p90, p99, longest, in microseconds.
    latency: Option<[u32; 4]>,
    /// The goals that were not reached.
    pub(super) shortfalls: Vec<String>,
}

impl Report {
    /// Takes all figures. `began` is the time at which publishing began, in microseconds since 1970.
    pub(super) fn new(
        plan: &Plan,
        sockets: &mut Sockets,
        published: &Published,
        began: u64,
        publishing: Duration,
    ) -> Self {
        let open = sockets.open_now();
        let tally = &sockets.tally;
        let last = tally.last.load(Relaxed).saturating_sub(began);
        let mut samples = tally.samples();
        let latency = samples.percentile(50).map(|p50| {
            let mut of = |percent| samples.percentile(percent).unwrap_or(p50);
            [p50, of(90), of(99), samples.longest()]
        });
        let mut report = Self {
            connections: sockets.opened,
            handles: plan.handles.map(|_| tally.connected.load(Relaxed)),
            opening: sockets.opening,
            accepted: published.accepted.load(Relaxed),
            publishing,
            messages: tally.messages(),
            expected: published.expected.load(Relaxed),
            bytes: tally.bytes.load(Relaxed),
            delivering: Duration::from_micros(last),
            samples: samples.len(),
            latency,
            shortfalls: Vec::new(),
        };
        drop(samples);
        report.check_opened(plan, sockets);
        report.check_published(plan, published.refused.load(Relaxed));
        report.check_delivered(sockets, open);
        report
    }

    fn check_opened(&mut self, plan: &Plan, sockets: &Sockets) {
        for (reason, count) in &sockets.refused {
            let all = plan.connections;
            self.add_shortfall(format!(
                "{count} of {all} connections could not be opened: {reason}"
            ));
        }
        let greeted = sockets.tally.connected.load(Relaxed);
        let silent = sockets.channels(plan).saturating_sub(greeted);
        if silent > 0 {
            let those = match plan.handles {
                None => "connections were opened",
                Some(_) => "handles were asked for",
            };
            self.add_shortfall(format!("{silent} {those} and got no `connected`"));
        }
        let refused = sockets.tally.refused.load(Relaxed);
        if refused > 0 {
            self.add_shortfall(format!("{refused} handles were refused, or have ended"));
        }
    }

    fn check_published(&mut self, plan: &Plan, refused: u64) {
        if refused > 0 {
            self.add_shortfall(format!("{refused} events were refused"));
        }
        if let Rate::PerSecond(rate) = plan.rate {
            let kept = per_second(self.accepted, self.publishing);
            if kept < f64::from(rate) * KEPT {
                self.add_shortfall(format!(
                    "{rate} events/s requested, {kept:.0} reached, with {} requests at once of {} events",
                    plan.publishers, plan.batch
                ));
            }
        }
    }

    fn check_delivered(&mut self, sockets: &Sockets, open: u64) {
        for (end, count) in &sockets.ended {
            let end = match end {
                SocketEnd::Code(code) => match Ending::from_code(*code) {
                    Some(ending) => format!("{code} {}", ending.token()),
                    None => code.to_string(),
                },
                SocketEnd::Broken(reason) => style::printable(reason),
            };
            self.add_shortfall(format!(
                "{count} connections were closed: {end}; {open} were left"
            ));
        }
        let gaps = sockets.tally.gaps.load(Relaxed);
        if gaps > 0 {
            self.add_shortfall(format!("{gaps} times a connection got a gap"));
        }
        if self.messages < self.expected {
            let missing = self.expected - self.messages;
            self.add_shortfall(format!(
                "{missing} of {} messages did not arrive",
                self.expected
            ));
        }
        if self.messages > self.expected {
            let more = self.messages - self.expected;
            self.add_shortfall(format!("{more} more messages came than were expected"));
        }
    }

    pub(super) fn add_shortfall(&mut self, text: String) {
        self.shortfalls.push(text);
    }

    /// Prints the report.
    pub(super) fn print(&self, plan: &Plan, as_json: bool) -> Result<(), Failure> {
        if as_json {
            return style::print_json(self.to_json(plan));
        }
        style::print(self.table(plan))?;
        for text in &self.shortfalls {
            style::print(format!("{} {text}", paint(WARN, "not reached:")))?;
        }
        Ok(())
    }

    fn table(&self, plan: &Plan) -> String {
        let asked = match plan.rate {
            Rate::PerSecond(rate) => format!("{rate}/s requested"),
            Rate::Max => "as fast as accepted".to_owned(),
        };
        let handles = self.handles.map(|handles| {
            let each = plan.handles.unwrap_or_default();
            let rate = per_second_text(handles, self.opening);
            ("handles", handles.to_string(), rate, format!("{each} each"))
        });
        let mut rows = vec![
            (
                "connections",
                self.connections.to_string(),
                per_second_text(self.connections, self.opening),
                format!(
                    "{} at a time, in {:.2} s",
                    plan.opening,
                    self.opening.as_secs_f64()
                ),
            ),
            (
                "subscriptions",
                plan.subscriptions.to_string(),
                String::new(),
                format!("{:.2} % match an event", plan.share() * 100.0),
            ),
            (
                "events",
                self.accepted.to_string(),
                per_second_text(self.accepted, self.publishing),
                format!(
                    "{asked}, {} bytes of data, {} a request, {} requests at a time",
                    plan.payload, plan.batch, plan.publishers
                ),
            ),
            (
                "messages",
                self.messages.to_string(),
                per_second_text(self.messages, self.delivering),
                format!(
                    "{} bytes each, {:.1} MB/s",
                    self.bytes.checked_div(self.messages).unwrap_or(0),
                    per_second(self.bytes, self.delivering) / 1e6
                ),
            ),
        ];
        rows.splice(1..1, handles);
        if let Some(latency) = self.latency {
            let [p50, p90, p99, longest] = latency.map(|micros| f64::from(micros) / 1e3);
            rows.push((
                "latency",
                format!("{p50:.2} ms"),
                "p50".to_owned(),
                format!(
                    "p90 {p90:.2} ms, p99 {p99:.2} ms, longest {longest:.2} ms, {} samples",
                    self.samples
                ),
            ));
        }
        let lines = rows.into_iter().map(|(name, count, rate, note)| {
            format!(
                "{}  {count:>12}  {rate:>12}  {note}",
                paint(STRONG, format!("{name:<13}"))
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn to_json(&self, plan: &Plan) -> Value {
        let latency = self.latency.map(|[p50, p90, p99, longest]| {
            json!({"p50": p50, "p90": p90, "p99": p99, "longest": longest, "samples": self.samples})
        });
        let asked = match plan.rate {
            Rate::PerSecond(rate) => json!(rate),
            Rate::Max => json!("max"),
        };
        let mut figures = json!({
            "connections": {"asked": plan.connections, "opened": self.connections,
                "seconds": self.opening.as_secs_f64()},
            "subscriptions": {"count": plan.subscriptions, "match": plan.share()},
            "events": {"accepted": self.accepted, "seconds": self.publishing.as_secs_f64(),
                "perSecond": per_second(self.accepted, self.publishing), "perSecondAsked": asked,
                "dataBytes": plan.payload, "batch": plan.batch, "publishers": plan.publishers},
            "messages": {"received": self.messages, "expected": self.expected,
                "seconds": self.delivering.as_secs_f64(),
                "perSecond": per_second(self.messages, self.delivering),
                "bytes": self.bytes},
            "latencyMicros": latency,
            "notReached": self.shortfalls,
        });
        if let Some(handles) = self.handles {
            figures["handles"] = json!({"each": plan.handles, "connected": handles});
        }
        figures
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn per_second(count: u64, span: Duration) -> f64 {
    if span.is_zero() {
        return 0.0;
    }
    count as f64 / span.as_secs_f64()
}

fn per_second_text(count: u64, span: Duration) -> String {
    format!("{:.0}/s", per_second(count, span))
}
