//! Which part is well, and since when.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Map, Value, json};

use crate::config;

/// A part of the node that is well or not. Whoever owns it reports it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The process: `up`, `stopping`.
    Service,
    /// `up`, `away` (no member takes writes), `forbids` (it withholds a right).
    Database,
    /// The change stream; see [`FeedState`].
    Feed,
    /// What applies it: `loading`, `up`, `down`.
    Router,
    /// Acknowledged positions: `up`, `behind` (they cannot be written now).
    Positions,
    /// What this node did about deletes: `up`, `behind` (it cannot be written now).
    Receipts,
    /// Reading the past: `up`, `failing` (it cannot be read now).
    Replay,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 7] = [
        Self::Service,
        Self::Database,
        Self::Feed,
        Self::Router,
        Self::Positions,
        Self::Receipts,
        Self::Replay,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Database => "database",
            Self::Feed => "feed",
            Self::Router => "router",
            Self::Positions => "positions",
            Self::Receipts => "receipts",
            Self::Replay => "replay",
        }
    }
}

/// What the feed is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FeedState {
    /// The initial load has not been applied yet.
    Loading,
    /// Changes arrive and are applied as they are committed.
    Current,
    /// Changes arrive later than they are committed.
    Behind,
    /// The database cannot be read; sockets stay open.
    Cut,
}

impl FeedState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Current => "current",
            Self::Behind => "behind",
            Self::Cut => "cut",
        }
    }
}

/// The health of this node, shared by those who report and those who ask.
#[derive(Clone, Debug)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    parts: [Condition; Part::ALL.len()],
    feed: FeedState,
    /// When the feed was last current; it reports that again and again.
    feed_current: Instant,
    tolerance: Duration,
    max_await: Duration,
}

/// How a part is.
#[derive(Clone, Debug)]
struct Condition {
    status: &'static str,
    detail: Option<String>,
    since: SystemTime,
}

impl Health {
    /// A node that has just started. Behind, cut or silent for longer than `ready_lag` is not ready.
    pub fn new(settings: &config::Feed) -> Self {
        let since = SystemTime::now();
        let parts = Part::ALL.map(|part| Condition {
            status: match part {
                Part::Feed | Part::Router => "loading",
                _ => "up",
            },
            detail: None,
            since,
        });
        Self(Arc::new(Mutex::new(State {
            parts,
            feed: FeedState::Loading,
            feed_current: Instant::now(),
            tolerance: settings.ready_lag,
            max_await: settings.max_await,
        })))
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reports how a part is; the time counts from the last change of `status`. True if it changed.
    pub fn report(&self, part: Part, status: &'static str, detail: Option<String>) -> bool {
        self.with(|state| state.report(part, status, detail))
    }

    /// Reports the feed's state. True if it changed.
    pub fn feed(&self, feed: FeedState) -> bool {
        self.with(|state| {
            // Until the initial load is handed over nothing else can be said.
            if state.feed == FeedState::Loading && feed != FeedState::Current {
                return false;
            }
            if feed == FeedState::Current {
                state.feed_current = Instant::now();
            }
            state.feed = feed;
            state.report(Part::Feed, feed.as_str(), None)
        })
    }

    /// Whether the feed was last reported as cut.
    pub fn is_feed_cut(&self) -> bool {
        self.with(|state| state.feed == FeedState::Cut)
    }

    /// Reports that this node stops: it is not ready any more.
    pub fn stopping(&self) {
        self.report(Part::Service, "stopping", None);
    }

    /// Whether requests should be sent here; if not, why.
    pub fn ready(&self) -> Result<(), String> {
        self.with(|state| state.ready())
    }

    /// Every part with its status and since when, for `GET /health`.
    pub fn to_json(&self) -> Value {
        self.with(|state| {
            let ready = state.ready();
            let parts: Map<String, Value> = Part::ALL
                .into_iter()
                .map(|part| (part.name().to_owned(), state.parts[part as usize].to_json()))
                .collect();
            json!({
                "status": if ready.is_ok() { "up" } else { "down" },
                "detail": ready.err(),
                "parts": parts,
            })
        })
    }
}

impl State {
    fn report(&mut self, part: Part, status: &'static str, detail: Option<String>) -> bool {
        let condition = &mut self.parts[part as usize];
        condition.detail = detail;
        let changed = condition.status != status;
        if changed {
            condition.status = status;
            condition.since = SystemTime::now();
        }
        changed
    }

    fn ready(&self) -> Result<(), String> {
        let status = |part: Part| self.parts[part as usize].status;
        if status(Part::Service) == "stopping" {
            return Err("this node is stopping".to_owned());
        }
        match status(Part::Router) {
            "up" if self.feed != FeedState::Loading => {}
            "down" => return Err("the router has ended; the log says why".to_owned()),
            _ => return Err("the subscriptions are being loaded".to_owned()),
        }
        // From one short trouble into the next is one long trouble.
        let passed = self.feed_current.elapsed();
        let seconds = passed.as_secs();
        match self.feed {
            FeedState::Behind | FeedState::Cut if passed > self.tolerance => {
                let state = self.feed.as_str();
                Err(format!(
                    "the feed is {state}; it was current {seconds} s ago"
                ))
            }
            // An idle server answers after `max_await`: a feed that waits longer is held up.
            _ if passed > self.tolerance + self.max_await => {
                Err(format!("the feed has not moved for {seconds} s"))
            }
            _ => Ok(()),
        }
    }
}

impl Condition {
    fn to_json(&self) -> Value {
        let since = humantime::format_rfc3339_millis(self.since).to_string();
        let mut json = json!({"status": self.status, "since": since});
        if let Some(detail) = &self.detail {
            json["detail"] = detail.as_str().into();
        }
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(ready_lag: Duration) -> Health {
        Health::new(&config::Feed {
            ready_lag,
            max_await: Duration::ZERO,
            ..config::Feed::default()
        })
    }

    fn refusal(health: &Health) -> String {
        health.ready().expect_err("not ready")
    }

    #[test]
    fn a_node_is_ready_once_its_first_load_is_applied() {
        let health = health(Duration::from_hours(1));
        assert!(refusal(&health).contains("loaded"));
        health.feed(FeedState::Cut);
        assert!(
            refusal(&health).contains("loaded"),
            "nothing to ride out yet"
        );
        health.feed(FeedState::Current);
        assert!(
            refusal(&health).contains("loaded"),
            "handed over, not applied"
        );
        assert!(health.report(Part::Router, "up", None));
        assert_eq!(health.ready(), Ok(()));
        health.report(Part::Router, "down", None);
        assert!(refusal(&health).contains("router"));
    }

    #[test]
    fn a_node_is_ready_only_while_its_feed_is() {
        let patient = health(Duration::from_hours(1));
        let strict = health(Duration::ZERO);
        for health in [&patient, &strict] {
            health.report(Part::Router, "up", None);
            assert!(health.feed(FeedState::Current));
            assert!(health.feed(FeedState::Cut));
            assert!(!health.feed(FeedState::Cut), "not a change");
            assert_eq!(health.to_json()["parts"]["feed"]["status"], "cut");
        }
        assert_eq!(patient.ready(), Ok(()), "a short cut is ridden out");
        assert!(refusal(&strict).contains("cut"));
        patient.feed(FeedState::Current);
        patient.stopping();
        assert!(refusal(&patient).contains("stopping"));
    }

    #[test]
    fn a_feed_that_says_nothing_for_long_is_held_up() {
        let strict = health(Duration::ZERO);
        strict.report(Part::Router, "up", None);
        strict.feed(FeedState::Current);
        while strict.ready().is_ok() {}
        assert!(refusal(&strict).contains("not moved"));
    }

    #[test]
    fn every_part_is_told_with_what_ails_it() {
        let health = health(Duration::ZERO);
        health.report(
            Part::Database,
            "away",
            Some("a:1 does not answer".to_owned()),
        );
        let json = health.to_json();
        assert_eq!(json["status"], "down");
        assert_eq!(json["parts"]["database"]["status"], "away");
        assert_eq!(json["parts"]["database"]["detail"], "a:1 does not answer");
        for part in Part::ALL {
            let told = &json["parts"][part.name()];
            assert!(told["since"].is_string(), "{told}");
        }
    }
}
