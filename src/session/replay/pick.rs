//! The picking of the changes that are for a channel: events that match, and changes of its subscription. A match that
//! may take long runs on a thread that serves no sockets.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
};

use bson::{RawDocument, RawDocumentBuf};
use tokio::task::spawn_blocking;

use super::{Compiling, Found, Replay, STEPS_A_TURN, share::Share};
use crate::{
    filter::{Filter, Steps, TooExpensive},
    position::Position,
    protocol::{Frame, GapReason},
    router::{PastBatch, PastChange, PastChangeKind},
    subscription::DocumentKey,
    turns::Turns,
};

/// After so many undecided events a replay skips the past. Each costs some tenths of a second of a thread.
const GIVEN_UP_AT_MOST: usize = 5;

/// The part of a change that is for the channel.
pub(super) enum Picked {
    Nothing,
    Frame(Arc<Frame>),
    /// An event of which nobody can say whether it matches.
    Undecided(GapReason),
}

impl Replay {
    /// Picks from a change what is for the channel.
    pub(super) fn pick(&mut self, batch: &PastBatch, change: &PastChange) -> Picked {
        let is_past = change.position <= self.attached_at;
        match &change.kind {
            PastChangeKind::Operation(_) => {
                let document = batch.event(change);
                return document.map_or(Picked::Nothing, |document| {
                    self.pick_event(batch, change, document)
                });
            }
            // It has no document in the database that could change.
            _ if self.adhoc => {}
            PastChangeKind::SubscriptionStored(document)
                if !is_past && DocumentKey::of(document).prevails_over(&self.subscription) =>
            {
                self.subscription = DocumentKey::of(document);
                let at = Some(change.position);
                self.compiling = Some(Compiling::of(document, &self.limits, at));
            }
            // The end is decided, though the session may not have seen it yet (`catch_up`). Another subscription may
            // follow under the same id.
            PastChangeKind::SubscriptionDeleted(key)
                if !is_past && DocumentKey::of(key) == self.subscription =>
            {
                self.stop_behind(change.position);
            }
            PastChangeKind::AllSubscriptionsDeleted if !is_past => {
                self.stop_behind(change.position);
            }
            _ => {}
        }
        Picked::Nothing
    }

    fn pick_event(
        &mut self,
        batch: &PastBatch,
        change: &PastChange,
        document: &RawDocument,
    ) -> Picked {
        let (filter, expiry) = if change.position <= self.attached_at {
            (&self.past_filter, self.past_expiry)
        } else {
            (&self.filter, self.expiry)
        };
        if expiry.is_some_and(|expiry| self.archive.committed(change) > expiry) {
            return Picked::Nothing;
        }
        let Some(filter) = filter else {
            return Picked::Nothing;
        };
        let permitted = match &self.policy {
            Ok(policy) => policy.as_ref().is_none_or(|one| one.permits(document)),
            Err(_) => false,
        };
        if !permitted {
            self.judgement = None;
            return Picked::Nothing;
        }
        let judgement = if let Some(judgement) = self.judgement.take() {
            judgement
        } else if filter.most_steps(document.as_bytes().len()) > STEPS_A_TURN {
            let filter = Arc::clone(filter);
            let tenant = self.shown.tenant().map(Into::into);
            let judging = judge_offloaded(tenant, filter, document.to_owned());
            self.matching = Some(Box::pin(judging));
            return Picked::Nothing;
        } else {
            let (judgement, spent) = judge(filter, document);
            self.turn.steps = self.turn.steps.saturating_sub(spent);
            judgement
        };
        match judgement {
            Judgement::Matches => batch
                .frame(change, document, self.dialect, &self.context.encoder)
                .map_or(Picked::Nothing, Picked::Frame),
            Judgement::Not => Picked::Nothing,
            Judgement::TooExpensive => Picked::Undecided(GapReason::OversizedChange),
            Judgement::Panicked => {
                tracing::error!(position = ?change.position, "matching an event in a replay panicked");
                Picked::Undecided(GapReason::UndecodableChange)
            }
        }
    }

    /// Passes over an event of which nobody can say whether it matches; the client stands at `after`. The subscription is
    /// not made invalid for it: else nodes would differ by the clients that came back to them. A filter that fails on so
    /// many events is not tried on the rest of the past.
    pub(super) fn give_up(&mut self, reason: GapReason, after: Position) -> Found {
        self.given_up += 1;
        self.context.metrics.delivery.filters_undecided.inc();
        if self.given_up >= GIVEN_UP_AT_MOST {
            if self.done > self.attached_at {
                return Found::Unavailable;
            }
            self.skip_to_attach();
        }
        Found::Gap(reason, after, self.done)
    }

    /// Goes on at the attach. The batches of the router's last answer are still looked through: the channel may be live
    /// behind them.
    fn skip_to_attach(&mut self) {
        self.done = self.attached_at;
        if self.is_far {
            // It goes on alone, from there.
            let context = Arc::clone(&self.context);
            let at = self.attached_at;
            self.past = Some(Share::alone(self.key, context, at, at));
            self.is_far = false;
            self.batches.clear();
            self.next_change = 0;
            self.until = None;
            self.archive.close_page();
        }
    }
}

/// Turns at the matches that run on other threads at the same time, for all replays of the process.
static OFFLOADED: LazyLock<Turns> = LazyLock::new(|| Turns::new(2));

/// The outcome of matching an event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Judgement {
    Matches,
    Not,
    TooExpensive,
    Panicked,
}

/// Matches an event on this thread; also returns the steps that it took.
fn judge(filter: &Filter, document: &RawDocument) -> (Judgement, u64) {
    let mut steps = Steps::default();
    let matching = AssertUnwindSafe(|| {
        #[cfg(test)]
        crate::session::fault::strike_matching(document);
        filter.matches_within(document, &mut steps)
    });
    let judgement = match catch_unwind(matching) {
        Ok(Ok(true)) => Judgement::Matches,
        Ok(Ok(false)) => Judgement::Not,
        Ok(Err(TooExpensive)) => Judgement::TooExpensive,
        Err(_) => Judgement::Panicked,
    };
    (judgement, steps.spent())
}

/// Matches an event on a thread for blocking work, when its turn has come.
async fn judge_offloaded(
    tenant: Option<Box<str>>,
    filter: Arc<Filter>,
    document: RawDocumentBuf,
) -> Judgement {
    // Held to the end of the work, even if nobody waits for it any more.
    let turn = OFFLOADED.take(tenant.as_deref()).await;
    let judging = spawn_blocking(move || {
        let (judgement, _) = judge(&filter, &document);
        drop(turn);
        judgement
    });
    judging.await.unwrap_or(Judgement::Panicked)
}
