//! The report of a run, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    readings::Reading,
    rig::{
        checker::{events, tally},
        figures,
        life::Evidence,
        record::Heard,
    },
};

/// Most violations that are shown.
const SHOWN: usize = 50;

/// The outcome of a run.
pub(crate) struct Report<'a> {
    pub(crate) seed: u64,
    pub(crate) minutes: f64,
    pub(crate) evidence: &'a Evidence,
    pub(crate) curve: &'a [Reading],
    /// The reading after everybody had left.
    pub(crate) rest: Reading,
}

impl Report<'_> {
    pub(crate) fn text(&self) -> String {
        let costs = figures::costs(&self.evidence.notes);
        let mut text = figures::table(&costs);
        let Totals {
            events,
            deliveries,
            connections,
            refusals,
        } = self.totals();
        let violations = &self.evidence.violations;
        writeln!(
            text,
            "\n{events} events, {deliveries} deliveries on {connections} connections, \
             {refusals} writes refused, {} violations",
            violations.len()
        )
        .expect("text takes all");
        for (what, trend) in self.trends() {
            writeln!(text, "{what}: {trend}").expect("text takes all");
        }
        for violation in violations.iter().take(SHOWN) {
            writeln!(text, "{violation}").expect("text takes all");
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let Totals {
            events,
            deliveries,
            connections,
            refusals,
        } = self.totals();
        let violations = &self.evidence.violations;
        let by_rule: Value = tally(violations)
            .into_iter()
            .map(|(rule, count)| (format!("{rule:?}"), json!(count)))
            .collect();
        let shown: Vec<_> = violations
            .iter()
            .take(SHOWN)
            .map(ToString::to_string)
            .collect();
        let trends: Value = self
            .trends()
            .into_iter()
            .map(|(what, t)| (what, t.json()))
            .collect();
        json!({
            "seed": self.seed,
            "minutes": self.minutes,
            "faults": figures::json(&figures::costs(&self.evidence.notes)),
            "events": events,
            "deliveries": deliveries,
            "connections": connections,
            "refusals": refusals,
            "violations": by_rule,
            "shown": shown,
            "readings": trends,
        })
    }

    fn totals(&self) -> Totals {
        let notes = &self.evidence.notes;
        let is_event = |heard: &&(_, Heard)| matches!(heard.1, Heard::Event { .. });
        let delivered = notes.connections.iter();
        Totals {
            events: events(&self.evidence.commits).len(),
            deliveries: delivered
                .map(|c| c.heard.iter().filter(is_event).count())
                .sum(),
            connections: notes.connections.len(),
            refusals: notes.refusals.values().sum(),
        }
    }

    fn trends(&self) -> Vec<(String, Trend)> {
        let of = |value: fn(&Reading) -> Option<f64>| {
            let points = self.curve.iter();
            let points = points.filter_map(|r| Some((r.at.as_secs_f64() / 60.0, value(r)?)));
            Trend::of(&points.collect::<Vec<_>>(), value(&self.rest))
        };
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let trends = [
            ("resident memory, kB", of(|r| Some(r.resident_kb as f64))),
            ("descriptors", of(|r| Some(r.descriptors as f64))),
            (
                "cursors of the primary",
                of(|r| r.cursors.map(|cursors| cursors as f64)),
            ),
        ];
        trends.map(|(what, trend)| (what.to_owned(), trend)).into()
    }
}

struct Totals {
    events: usize,
    deliveries: usize,
    connections: usize,
    refusals: u64,
}

/// The development of a quantity.
struct Trend {
    first: f64,
    last: f64,
    least: f64,
    most: f64,
    /// The slope in the second half of the run: by then caches and the backlog are full.
    slope_per_minute: f64,
    at_rest: Option<f64>,
}

impl Trend {
    fn of(points: &[(f64, f64)], at_rest: Option<f64>) -> Self {
        let values = || points.iter().map(|(_, value)| *value);
        Self {
            first: values().next().unwrap_or_default(),
            last: values().next_back().unwrap_or_default(),
            least: values().fold(f64::INFINITY, f64::min),
            most: values().fold(0.0, f64::max),
            slope_per_minute: slope(&points[points.len() / 2..]),
            at_rest,
        }
    }

    fn json(&self) -> Value {
        json!({
            "first": self.first,
            "last": self.last,
            "least": self.least,
            "most": self.most,
            "slopePerMinute": self.slope_per_minute,
            "atRest": self.at_rest,
        })
    }
}

impl std::fmt::Display for Trend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            first,
            last,
            least,
            most,
            slope_per_minute,
            at_rest,
        } = self;
        write!(
            f,
            "first {first}, last {last}, between {least} and {most}, \
             {slope_per_minute:+.2} a minute in the second half"
        )?;
        match at_rest {
            Some(at_rest) => write!(f, ", {at_rest} when all had left"),
            None => Ok(()),
        }
    }
}

/// Computes the slope of the line that fits best (least squares).
fn slope(points: &[(f64, f64)]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let covariance: f64 = points
        .iter()
        .map(|(x, y)| (x - mean_x) * (y - mean_y))
        .sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if variance > 0.0 {
        covariance / variance
    } else {
        0.0
    }
}
