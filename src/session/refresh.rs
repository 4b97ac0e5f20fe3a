//! The end of the session's credential: the warning before it, and the refreshes that put it off.
//!
//! The router ends the session. Here the client is only warned, at a time that the session's one sleep takes into
//! account, and a new credential is proved, in this task. The router then judges it in the order of the feed
//! ([`RouterHandle::refresh`](crate::router::RouterHandle::refresh)). Refreshes are answered one after the other.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bson::DateTime;
use serde_json::Value;
use smallvec::SmallVec;

use super::{Outcome, Session};
use crate::{
    extjson::time_text,
    protocol::{Ending, Message, Token},
    router::{Refreshed, registry::SessionKey},
};

/// The time between the warning and the end.
const WARNING: Duration = Duration::from_secs(30);
/// The clock may be set meanwhile, so it is looked at again after this long.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// Refreshes that may wait for their turn.
const MOST_WAITING: usize = 5;
/// Refreshes that may be refused within [`REFUSED_WITHIN`].
const MOST_REFUSED: usize = 5;
const REFUSED_WITHIN: Duration = Duration::from_mins(1);

/// The proof of a new credential, and its exchange for that of a session. HTTP knows how a credential is proved.
pub(crate) trait Refresher: fmt::Debug + Send + Sync {
    /// Proves who presents a credential, and has the router judge it for the session.
    fn refresh(self: Arc<Self>, session: SessionKey, token: Token) -> Refreshing;
}

/// A refresh under way.
pub(crate) type Refreshing = Pin<Box<dyn Future<Output = Result<Refreshed, NotRefreshed>> + Send>>;

/// The reason why there is no new credential.
#[derive(Debug)]
pub(crate) enum NotRefreshed {
    /// The session ends. The router tells it through the outbox.
    Ends,
    /// The credential does not stand.
    Refused(Value),
    /// Nobody can tell now.
    Undecided(Value),
}

/// The end of the credential, as the session sees it.
#[derive(Default, Debug)]
pub(super) struct CredentialEnd {
    /// The end for which `warn_at` was reckoned, in milliseconds since 1970.
    known: Option<i64>,
    /// The time of the warning; `None` once it was given, or if there is no end.
    warn_at: Option<Instant>,
    /// `None` for a client that has never refreshed, as most.
    refreshes: Option<Box<Refreshes>>,
}

/// The refreshes of one client.
#[derive(Default)]
struct Refreshes {
    asked: Option<Refreshing>,
    waiting: VecDeque<Token>,
    /// The times of the last refusals.
    refused: SmallVec<[Instant; MOST_REFUSED]>,
}

impl fmt::Debug for Refreshes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refreshes")
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

impl CredentialEnd {
    /// Whether a refresh is under way: its answer comes before a warning of the new end.
    fn is_asked(&self) -> bool {
        let refreshes = self.refreshes.as_deref();
        refreshes.is_some_and(|refreshes| refreshes.asked.is_some())
    }

    /// Returns the time of the warning of an end, which may have moved.
    fn warn_at(&mut self, end: Option<i64>) -> Option<Instant> {
        if self.known != end {
            self.known = end;
            self.warn_at = end.map(warning_of);
        }
        self.warn_at
    }
}

/// Returns the time at which to warn of an end, or to look at the clock again.
fn warning_of(end: i64) -> Instant {
    let ahead = left(end).saturating_sub(WARNING);
    Instant::now() + ahead.min(LONGEST_WAIT)
}

/// Returns the time that is left until an end, by this node's clock.
fn left(end: i64) -> Duration {
    let left = end.saturating_sub(DateTime::now().timestamp_millis());
    Duration::from_millis(u64::try_from(left).unwrap_or(0))
}

impl Session {
    /// Returns the time of the warning, if one is to be given. It is the client's second message at the earliest.
    pub(super) fn warning(&mut self) -> Option<Instant> {
        let end = self.outbox.credential_end();
        if self.credential.is_asked() || !self.dialect.has_messages() {
            return None;
        }
        let at = self.credential.warn_at(end)?;
        let greeted = self.several.is_some() || self.channels.are_greeted();
        greeted.then_some(at)
    }

    /// Warns the client that its credential ends.
    pub(super) fn warn(&mut self) {
        let Some(end) = self.credential.known else {
            return;
        };
        let left = left(end);
        if left > WARNING {
            self.credential.warn_at = Some(warning_of(end));
            return;
        }
        self.credential.warn_at = None;
        let cursor = if self.several.is_some() {
            self.standing_of_live()
        } else {
            self.transport.outbound().queued_of_all()
        };
        let cursor = cursor.map(|at| at.cursor(self.context.router.deployment()));
        let expires_at = time_text(DateTime::from_millis(end));
        let in_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let message = Message::expiring(expires_at.as_deref(), in_ms, cursor.as_deref());
        self.say(&message);
    }

    /// Takes a client's request for a refresh.
    pub(super) fn take_refresh(&mut self, token: Token) -> Result<(), Ending> {
        let refreshes = self.credential.refreshes.get_or_insert_default();
        if refreshes.waiting.len() == MOST_WAITING {
            self.fault = Some(format!("more than {MOST_WAITING} refreshes wait").into());
            return Err(Ending::BadMessage);
        }
        refreshes.waiting.push_back(token);
        Ok(())
    }

    /// Goes on with the refreshes, one after the other.
    pub(super) fn poll_refreshes(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        while let Some(refreshes) = self.credential.refreshes.as_deref_mut() {
            let Some(asked) = &mut refreshes.asked else {
                let Some(token) = refreshes.waiting.pop_front() else {
                    return Poll::Pending;
                };
                let refresher = Arc::clone(&self.refresher);
                refreshes.asked = Some(refresher.refresh(self.key, token));
                continue;
            };
            let answered = ready!(asked.as_mut().poll(cx));
            refreshes.asked = None;
            if let Err(ending) = self.on_answered(answered) {
                return Poll::Ready(Outcome::Found(ending));
            }
        }
        Poll::Pending
    }

    /// Tells the client what became of its refresh.
    fn on_answered(&mut self, answered: Result<Refreshed, NotRefreshed>) -> Result<(), Ending> {
        // A client that asks and does not listen is not read.
        self.answers_waiting += 1;
        let refused = match answered {
            Ok(refreshed) => {
                for (id, may_ack) in refreshed.may_ack {
                    self.channels.allow_acks(id, may_ack);
                }
                self.caller = refreshed.caller;
                let expires_at = refreshed.expires_at.and_then(time_text);
                self.say(&Message::refreshed(expires_at.as_deref()));
                return Ok(());
            }
            Err(NotRefreshed::Ends) => return Ok(()),
            Err(NotRefreshed::Undecided(problem)) => {
                self.say(&Message::refused(&problem));
                return Ok(());
            }
            Err(NotRefreshed::Refused(problem)) => problem,
        };
        self.say(&Message::refused(&refused));
        if self.are_too_many_refused() {
            let fault = format!("more than {MOST_REFUSED} refreshes were refused within a minute");
            self.fault = Some(fault.into());
            return Err(Ending::BadMessage);
        }
        Ok(())
    }

    /// Counts a refusal. True if there are too many.
    fn are_too_many_refused(&mut self) -> bool {
        let refreshes = self.credential.refreshes.get_or_insert_default();
        let refused = &mut refreshes.refused;
        refused.retain(|at| at.elapsed() < REFUSED_WITHIN);
        let too_many = refused.len() == MOST_REFUSED;
        if !too_many {
            refused.push(Instant::now());
        }
        too_many
    }
}
