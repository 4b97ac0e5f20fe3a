//! The health of each part of the node, and the time since it last changed.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Map, Value, json};

use super::Lag;
use crate::config;

/// A node that has not applied a change of this age is behind.
pub(crate) const BEHIND_AFTER: Duration = Duration::from_secs(2);

/// A part of the node. Its owner reports its health.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// The process: `up`, `stopping`.
    Service,
    /// `up`, `away` (no member takes writes), `forbids` (it refuses a right).
    Database,
    /// The change stream: see [`FeedState`].
    Feed,
    /// The router, which applies the changes: `loading`, `up`, `down`.
    Router,
    /// The filters of subscriptions: `up`, `expensive` (some could not be matched with an event, and their
    /// subscriptions are invalid).
    Filters,
    /// Policies: `up`, `broken` (some cannot be used, and whoever is under one receives nothing).
    Policies,
    /// Stored credentials: `up`, `full` (there is no room for some).
    Credentials,
    /// Acknowledged positions: `up`, `behind` (they cannot be written now).
    Positions,
    /// The receipts of deletes: `up`, `behind` (they cannot be written now).
    Receipts,
    /// The reading of oplog and archive: `up`, `failing` (they cannot be read now).
    Replay,
}

impl Part {
    pub(crate) const ALL: [Self; 10] = [
        Self::Service,
        Self::Database,
        Self::Feed,
        Self::Router,
        Self::Filters,
        Self::Policies,
        Self::Credentials,
        Self::Positions,
        Self::Receipts,
        Self::Replay,
    ];

    /// Returns its name in `GET /health`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Database => "database",
            Self::Feed => "feed",
            Self::Router => "router",
            Self::Filters => "filters",
            Self::Policies => "policies",
            Self::Credentials => "credentials",
            Self::Positions => "positions",
            Self::Receipts => "receipts",
            Self::Replay => "replay",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FeedState {
    /// The initial load is not applied yet.
    Loading,
    /// Changes arrive and are applied as they are committed.
    Current,
    /// Changes arrive later than they are committed.
    Behind,
    /// The database cannot be read. Sockets stay open.
    Disconnected,
}

impl FeedState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Current => "current",
            Self::Behind => "behind",
            Self::Disconnected => "cut",
        }
    }
}

/// The health of this node. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Health(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    parts: [Condition; Part::ALL.len()],
    feed: FeedState,
    /// The time at which the feed last reported that it is current.
    feed_current: Instant,
    lag: Lag,
    tolerance: Duration,
    max_await: Duration,
}

/// The condition of a part.
#[derive(Clone, Debug)]
struct Condition {
    status: &'static str,
    detail: Option<String>,
    since: SystemTime,
}

impl Health {
    /// Begins with a node that has just started. A node whose feed is behind, cut or silent for longer than
    /// `ready_lag` is not ready. The feed is also behind if the router has not applied what it received.
    pub(crate) fn new(settings: &config::Feed, lag: Lag) -> Self {
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
            lag,
            tolerance: settings.ready_lag,
            max_await: settings.max_await,
        })))
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reports the condition of a part. The time counts from the last change of `status`. Returns whether it
    /// changed.
    pub(crate) fn report(&self, part: Part, status: &'static str, detail: Option<String>) -> bool {
        self.with(|state| state.report(part, status, detail))
    }

    /// Reports the state of the feed. Returns whether it changed.
    pub(crate) fn feed(&self, feed: FeedState) -> bool {
        self.with(|state| {
            // Until the initial load is handed over, the feed is loading.
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
    pub(crate) fn is_feed_disconnected(&self) -> bool {
        self.with(|state| state.feed == FeedState::Disconnected)
    }

    /// Reports that this node stops, and so is no longer ready.
    pub(crate) fn stopping(&self) {
        self.report(Part::Service, "stopping", None);
    }

    /// Checks that requests should be sent here. The error says why not.
    pub(crate) fn ready(&self) -> Result<(), String> {
        self.with(|state| state.ready())
    }

    /// Writes every part with its status and the time of its last change, for `GET /health`.
    pub(crate) fn to_json(&self) -> Value {
        self.with(|state| {
            let ready = state.ready();
            let parts: Map<String, Value> = Part::ALL
                .into_iter()
                .map(|part| (part.name().to_owned(), state.condition(part).to_json()))
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

    /// Returns the state of the feed, and the time since it was current.
    fn feed(&self) -> (FeedState, Duration) {
        let lag = self.lag.now();
        let feed = match self.feed {
            FeedState::Current if lag > BEHIND_AFTER => FeedState::Behind,
            feed => feed,
        };
        (feed, self.feed_current.elapsed().max(lag))
    }

    /// Returns the condition of a part now. A report of the feed may be out of date, so it is computed anew.
    fn condition(&self, part: Part) -> Condition {
        let reported = self.parts[part as usize].clone();
        let (feed, passed) = self.feed();
        if part != Part::Feed || feed.as_str() == reported.status {
            return reported;
        }
        Condition {
            status: feed.as_str(),
            detail: Some(format!(
                "the oldest change that is not applied yet is {} s old",
                passed.as_secs()
            )),
            since: SystemTime::now()
                .checked_sub(passed)
                .unwrap_or(reported.since),
        }
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
        // Short troubles in a row count as one long trouble.
        let (feed, passed) = self.feed();
        let seconds = passed.as_secs();
        match feed {
            FeedState::Behind | FeedState::Disconnected if passed > self.tolerance => {
                let state = feed.as_str();
                Err(format!(
                    "the feed is {state}; it was current {seconds} s ago"
                ))
            }
            // An idle server answers after `max_await`: a feed that waits longer is stuck.
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

    fn lagging(ready_lag: Duration, lag: Lag) -> Health {
        let settings = config::Feed {
            ready_lag,
            max_await: Duration::ZERO,
            ..config::Feed::default()
        };
        Health::new(&settings, lag)
    }

    fn health(ready_lag: Duration) -> Health {
        lagging(ready_lag, Lag::default())
    }

    fn refusal(health: &Health) -> String {
        health.ready().expect_err("not ready")
    }

    #[test]
    fn a_node_is_ready_once_its_first_load_is_applied() {
        let health = health(Duration::from_hours(1));
        assert!(refusal(&health).contains("loaded"));
        health.feed(FeedState::Disconnected);
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
            assert!(health.feed(FeedState::Disconnected));
            assert!(!health.feed(FeedState::Disconnected), "not a change");
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
    fn what_waits_for_the_router_makes_the_feed_behind_whatever_it_reported() {
        let lag = Lag::default();
        let health = lagging(Duration::from_mins(2), lag.clone());
        health.report(Part::Router, "up", None);
        health.feed(FeedState::Current);
        let condition = || health.to_json()["parts"]["feed"].clone();
        let (now, minute) = (Instant::now(), Duration::from_mins(1));
        let unapplied = lag.received(now, minute, now + minute);
        assert_eq!(condition()["status"], "behind");
        assert!(condition()["detail"].as_str().unwrap().contains("60 s old"));
        assert_eq!(health.ready(), Ok(()), "within the tolerance");
        let older = lag.received(now, minute, now + minute);
        drop(unapplied);
        let oldest = lag.received(now, 4 * minute, now + minute);
        assert_eq!(health.ready(), Ok(()), "the first that came is the oldest");
        drop(older);
        assert!(refusal(&health).contains("behind"));
        drop(oldest);
        assert_eq!(condition()["status"], "current");
        assert_eq!(health.ready(), Ok(()));
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
