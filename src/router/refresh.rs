//! Refreshing the credential of an open session.
//!
//! Whoever presents a credential was authenticated before, in the task of its session. Here the proof is judged once
//! more, in the order of the feed: nothing is revoked between the judgement and the exchange. A refresh that is taken
//! before the session's end wins, and one that comes later finds the session ended.

use std::sync::Arc;

use bson::DateTime;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::{
    Input, Router, answer,
    handle::{Busy, RouterHandle},
    registry::{SessionEntry, SessionKey},
    table::Slot,
};
use crate::{
    access::{Caller, Refusal},
    protocol::{ChannelId, Ending},
};

/// A session whose credential is refreshed.
#[derive(Debug)]
pub(crate) struct Refreshed {
    /// The session's caller from here on.
    pub caller: Arc<Caller>,
    pub expires_at: Option<DateTime>,
    pub may_ack: MayAck,
}

/// The channels of a session, and whether its caller may move their acknowledged positions.
type MayAck = SmallVec<[(ChannelId, bool); 1]>;

/// The reason why a credential was not refreshed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum RefreshError {
    /// The session had ended, or its credential had.
    #[error("the session has ended")]
    Ended,
    /// The new credential is another caller's, or gives fewer rights. The session ends by this.
    #[error("the credential is another caller's, or gives fewer rights")]
    Forbidden,
    /// The new credential does not stand. The session goes on with the old one.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The router did not answer in time.
    #[error(transparent)]
    Busy(#[from] Busy),
}

impl RefreshError {
    /// Returns the outcome, as metrics name it.
    const fn outcome(self) -> &'static str {
        match self {
            Self::Ended => "late",
            Self::Forbidden => "forbidden",
            Self::Refused(refusal) => refusal.outcome(),
            Self::Busy(_) => "undecided",
        }
    }
}

impl RouterHandle {
    /// Refreshes the credential of a session by the caller that its client has proved to be.
    pub(crate) async fn refresh(
        &self,
        key: SessionKey,
        caller: Caller,
    ) -> Result<Refreshed, RefreshError> {
        let caller = Box::new(caller);
        self.ask(|reply| Input::Refresh(key, caller, reply)).await?
    }
}

impl Router {
    pub(super) fn refresh(
        &mut self,
        key: SessionKey,
        caller: Caller,
        reply: oneshot::Sender<Result<Refreshed, RefreshError>>,
    ) {
        // The client may have given up while the router was busy.
        if !reply.is_closed() {
            let refreshed = self.try_refresh(key, caller);
            let outcome = match &refreshed {
                Ok(_) => "ok",
                Err(error) => error.outcome(),
            };
            self.metrics.access.refreshed(outcome);
            answer(reply, refreshed);
        }
    }

    fn try_refresh(&mut self, key: SessionKey, fresh: Caller) -> Result<Refreshed, RefreshError> {
        let now = DateTime::now();
        // The timer may be late.
        if self.registry.end_if_expired(key, now, self.position) {
            return Err(RefreshError::Ended);
        }
        let Some(session) = self.registry.session(key) else {
            return Err(RefreshError::Ended);
        };
        let end = self.credentials.read(|all| all.judge(&fresh, now))?;
        let Some((caller, may_ack)) = self.successor(session, fresh) else {
            self.registry
                .end_session(key, Ending::Forbidden, self.position);
            return Err(RefreshError::Forbidden);
        };
        let caller = Arc::new(caller);
        self.registry.refresh(key, Arc::clone(&caller), end);
        Ok(Refreshed {
            caller,
            expires_at: end,
            may_ack,
        })
    }

    /// Returns the caller with which a session goes on, and whether it may acknowledge on each channel; `None` if its client
    /// has proved to be somebody else, or to have fewer rights, or does not see a subscription any more.
    fn successor(&self, session: &SessionEntry<Slot>, fresh: Caller) -> Option<(Caller, MayAck)> {
        let before = &session.new.caller;
        let caller = before.refreshed_by(fresh)?;
        let policies = self.credentials.policies();
        let mut may_ack = SmallVec::new();
        for (channel, slot) in session.channels() {
            let entry = self.subscriptions.get(slot)?;
            let document = &entry.subscription.document;
            let id = if entry.adhoc {
                "".into()
            } else {
                entry.subscription.id()?
            };
            let sees = entry.adhoc || caller.sight().sees(&id, document);
            let bound = before.has_same_bound_claims(&caller, document);
            if !sees || !bound || policies.shut_out(&caller, document) {
                return None;
            }
            let may = !entry.adhoc && caller.reach().sees(&id, document);
            may_ack.push((channel, may));
        }
        Some((caller, may_ack))
    }
}
