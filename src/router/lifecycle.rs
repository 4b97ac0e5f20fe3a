//! The life of subscriptions: made, changed, deleted, and replaced by a load.

use std::time::Instant;

use bson::DateTime;

use super::{
    Reload, Router, answer,
    compile::compile_off_thread,
    incarnation::Incarnation,
    observe::{EndedRight, Observed},
    table::{Entry, Slot, Table},
};
use crate::{
    access::{Holder, Right},
    filter::{self, Filter},
    position::Position,
    protocol::{Ending, GapReason},
    subscription::{DocumentKey, SubscriptionId},
};

impl Router {
    /// Applies a load, the first one or a later one. Subscriptions that are gone end, changed ones are announced, and
    /// if history was lost, every connection that stays hears of the gap.
    pub(super) async fn apply_reload(&mut self, reload: Reload) {
        let before = self.position;
        let lost = self.rights_lost_by(&reload.credentials);
        // Who ends by it has not missed anything, and comes back to before the gap.
        self.replace_credentials(*reload.credentials);
        self.position = self.position.max(reload.position);
        self.loaded_at = self.position;
        let when = When::Before(DateTime::now());
        self.publish_lost(lost, when).await;
        let missed = reload.missed.map(|reason| (reason, before));
        self.replace_all(*reload.subscriptions, when, missed).await;
        self.observers
            .publish(Observed::Loaded(self.position))
            .await;
        self.backlog.restart(self.position);
        let position = self.position;
        self.delivery.settle(&mut self.registry, position).await;
        self.delivery.hand_over();
        self.announce();
        answer(reload.applied, ());
    }

    /// Replaces all subscriptions. `missed` says why events may be missing, and after which position.
    pub(super) async fn replace_all(
        &mut self,
        all: Table,
        when: When,
        missed: Option<(GapReason, Position)>,
    ) {
        let difference = self.subscriptions.replace_all(all);
        for (slot, removed) in difference.gone {
            self.end_subscription(slot, &removed, when).await;
        }
        self.restore_adhoc(difference.adhoc).await;
        let durable = self.subscriptions.durable();
        let replaced = Observed::DurableReplaced(durable, self.position);
        self.observers.publish(replaced).await;
        // The gap comes first: a client that broke off before it would go on behind it without knowing.
        if let Some((reason, after)) = missed {
            self.notify_gap(reason, after).await;
        }
        for slot in difference.changed {
            self.notify_update(slot).await;
        }
    }

    /// Puts the filters of ad-hoc subscriptions into a table that has just taken them over.
    async fn restore_adhoc(&mut self, slots: Vec<Slot>) {
        let entries = slots
            .iter()
            .filter_map(|slot| self.subscriptions.get(*slot));
        let documents: Vec<_> = entries
            .map(|entry| entry.subscription.document.clone())
            .collect();
        if documents.is_empty() {
            return;
        }
        let limits = filter::Limits::from(&self.settings.limits);
        let compiled = compile_off_thread(documents, limits).await;
        let policies = self.credentials.policies();
        for (slot, compiled) in slots.into_iter().zip(compiled) {
            self.subscriptions
                .restore(slot, compiled.narrowed(&policies));
        }
    }

    pub(super) async fn delete(&mut self, key: &DocumentKey, when: When) {
        let Some((slot, removed)) = self.subscriptions.remove(key) else {
            return;
        };
        self.end_subscription(slot, &removed, when).await;
        let id = key.id();
        if removed.subscription.durable
            && let Some(id) = id.as_deref()
        {
            let ended = Observed::DurableEnded(SubscriptionId::from(id), self.position);
            self.observers.publish(ended).await;
        }
        if let Some(successor) = id.and_then(|id| self.subscriptions.successor(&id)) {
            let limits = filter::Limits::from(&self.settings.limits);
            for compiled in compile_off_thread(vec![successor.document], limits).await {
                let (subscription, filter) = compiled.into_parts();
                let entry = Entry::new(subscription);
                if successor.withheld {
                    self.upsert(entry.withheld(), None).await;
                } else {
                    self.upsert(entry, filter).await;
                }
            }
        }
    }

    pub(super) async fn upsert(&mut self, mut entry: Entry, filter: Option<Filter>) {
        let filter = self.narrowed(&mut entry, filter);
        if self.subscriptions.is_unaddressable(&entry.subscription) {
            self.subscriptions.upsert(entry, filter);
            return;
        }
        let id = entry.subscription.id();
        let id = id.map(|id| SubscriptionId::from(&*id));
        let before = id
            .as_ref()
            .and_then(|id| self.subscriptions.slot(id.as_str()));
        let before = before.and_then(|slot| self.subscriptions.get(slot));
        let same = before.filter(|b| b.subscription.key() == entry.subscription.key());
        entry.since = same.map_or(self.position, |before| before.since);
        let was = before.is_some_and(|before| before.subscription.durable);
        // A document that cannot be read does not cost the subscription its position.
        entry.subscription.durable |= was && entry.error().is_some();
        if let Some(observed) = durability(&entry, before, self.position) {
            self.observers.publish(observed).await;
        }
        if let Some(slot) = self.subscriptions.upsert(entry, filter) {
            self.notify_update(slot).await;
        }
    }

    async fn end_subscription(&mut self, slot: Slot, removed: &Entry, when: When) {
        let expired = removed.subscription.expired_by(when.latest());
        let ending = if expired {
            Ending::Expired
        } else {
            Ending::Deleted
        };
        let closed = self.registry.end_channels_of(slot, ending, self.position);
        let Some(id) = removed.subscription.id() else {
            return;
        };
        if !closed.is_empty() {
            tracing::info!(
                subscription = &*id,
                ended = closed.len(),
                reason = ending.token(),
                "a subscription was removed"
            );
        }
        let ended = EndedRight {
            right: Right::subscription(&id),
            holder: Some(Holder::of(&removed.subscription.document)),
            at: self.position,
            wall_time: when.seen(),
            ending,
            decided: Instant::now(),
            closed: closed.into(),
        };
        self.observers.publish(Observed::Ended(ended)).await;
    }
}

/// The time at which a subscription went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum When {
    /// The delete was seen: its commit's wall time.
    Committed(DateTime),
    /// It was found to be gone, at this time of this node's clock.
    Before(DateTime),
}

impl When {
    /// Returns the latest time that it can have been.
    pub(super) fn latest(self) -> DateTime {
        match self {
            Self::Committed(time) | Self::Before(time) => time,
        }
    }

    /// Returns the commit's wall time, if the delete was seen.
    pub(super) fn seen(self) -> Option<DateTime> {
        match self {
            Self::Committed(time) => Some(time),
            Self::Before(_) => None,
        }
    }
}

/// Returns whether a write at `at` made a subscription durable, or ended that. A document that takes over the id of
/// another one goes on from its position: the clients stay, and acknowledge as before.
fn durability(stored: &Entry, before: Option<&Entry>, at: Position) -> Option<Observed> {
    let incarnation = stored.incarnation()?;
    let was = before.is_some_and(|before| before.subscription.durable);
    match (was, stored.subscription.durable) {
        (false, true) => {
            let since = before.map_or(incarnation.since, |before| before.since);
            let incarnation = Incarnation {
                since,
                ..incarnation
            };
            Some(Observed::BecameDurable(incarnation, at))
        }
        (true, false) => Some(Observed::DurableEnded(incarnation.id, at)),
        _ => None,
    }
}
