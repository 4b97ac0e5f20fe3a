//! Which part is well, and since when.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Value, json};

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
    feed: FeedState,
    since: Instant,
    since_wall: SystemTime,
    started: SystemTime,
    stopping: bool,
    tolerance: Duration,
}

impl Health {
    /// A node that has just started. Behind or cut for longer than `tolerance` is not ready.
    pub fn new(tolerance: Duration) -> Self {
        let now = SystemTime::now();
        Self(Arc::new(Mutex::new(State {
            feed: FeedState::Loading,
            since: Instant::now(),
            since_wall: now,
            started: now,
            stopping: false,
            tolerance,
        })))
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reports the feed's state; the time counts from its last change.
    pub fn feed(&self, feed: FeedState) {
        self.with(|state| {
            // Until the initial load is applied nothing else can be said.
            let loaded = state.feed != FeedState::Loading || feed == FeedState::Current;
            if loaded && state.feed != feed {
                state.feed = feed;
                state.since = Instant::now();
                state.since_wall = SystemTime::now();
            }
        });
    }

    /// Reports that this node stops: it is not ready any more.
    pub fn stopping(&self) {
        self.with(|state| state.stopping = true);
    }

    /// Whether requests should be sent here; if not, why.
    pub fn ready(&self) -> Result<(), String> {
        self.with(|state| {
            let since = state.since.elapsed();
            match state.feed {
                _ if state.stopping => Err("this node is stopping".to_owned()),
                FeedState::Loading => Err("the subscriptions are being loaded".to_owned()),
                FeedState::Behind | FeedState::Cut if since > state.tolerance => {
                    let (name, seconds) = (state.feed.as_str(), since.as_secs());
                    Err(format!("the feed has been {name} for {seconds} s"))
                }
                _ => Ok(()),
            }
        })
    }

    /// Every part with its status and since when, for `GET /health`.
    pub fn report(&self) -> Value {
        let ready = self.ready();
        self.with(|state| {
            let since = humantime::format_rfc3339_millis(state.since_wall).to_string();
            let started = humantime::format_rfc3339_millis(state.started).to_string();
            let database = if state.feed == FeedState::Cut {
                "away"
            } else {
                "up"
            };
            json!({
                "status": if ready.is_ok() { "up" } else { "down" },
                "detail": ready.err(),
                "parts": {
                    "service": {
                        "status": if state.stopping { "stopping" } else { "up" },
                        "since": started,
                    },
                    "database": {"status": database, "since": since},
                    "feed": {"status": state.feed.as_str(), "since": since},
                },
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_ready_only_while_its_feed_is() {
        let health = Health::new(Duration::from_hours(1));
        assert!(health.ready().unwrap_err().contains("loaded"));
        health.feed(FeedState::Cut);
        assert!(
            health.ready().unwrap_err().contains("loaded"),
            "there is nothing to ride out yet"
        );
        health.feed(FeedState::Current);
        assert_eq!(health.ready(), Ok(()));
        health.feed(FeedState::Cut);
        assert_eq!(health.ready(), Ok(()), "a short cut is ridden out");
        assert_eq!(health.report()["parts"]["database"]["status"], "away");

        let strict = Health::new(Duration::ZERO);
        strict.feed(FeedState::Current);
        strict.feed(FeedState::Cut);
        assert!(strict.ready().unwrap_err().contains("cut"));
        strict.feed(FeedState::Current);
        strict.stopping();
        assert!(strict.ready().unwrap_err().contains("stopping"));
    }
}
