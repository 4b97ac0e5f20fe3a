//! Applying the feed: batches of changes, and reloads.

use std::time::Instant;

use bson::{DateTime, RawDocument};

use super::{
    Capacity, FeedBatch, FeedChange, FeedChangeKind, PastBatch, PastChange, PastChangeKind, Reload,
    Router, answer,
    compile::compile_off_thread,
    observe::{DeletedSubscription, Observed},
    table::{Entry, Incarnation, Slot, Table},
};
use crate::{
    filter::{self, Filter},
    position::Position,
    protocol::{Ending, GapReason},
    subscription::{DocumentKey, SubscriptionId},
    telemetry::Metrics,
};

impl Router {
    /// Applies the changes of a batch in order, and keeps them for replays.
    pub(super) async fn apply_batch(&mut self, batch: FeedBatch) {
        let mut applied = Vec::with_capacity(batch.changes.len());
        for change in batch.changes {
            applied.extend(self.apply_change(change, &batch.reply).await);
        }
        self.position = self.position.max(batch.position);
        self.delivery.flush(&mut self.registry).await;
        self.delivery
            .shed_load(&mut self.registry, self.position)
            .await;
        self.delivery.hand_over();
        Metrics::observe(
            &self.metrics.delivery.receipt_to_match,
            batch.received_at.elapsed(),
        );
        drop(batch.unapplied);
        let past = PastBatch::new(batch.reply, applied, batch.position, batch.received_at);
        self.backlog.add(past);
        self.announce();
    }

    /// Applies one change. Returns what replays need to know of it, if anything.
    async fn apply_change(
        &mut self,
        change: FeedChange,
        reply: &RawDocument,
    ) -> Option<PastChange> {
        let FeedChange {
            position,
            wall_time,
            kind,
        } = change;
        if !matches!(kind, FeedChangeKind::Operation(_)) {
            // It comes behind the events before it.
            self.delivery.flush(&mut self.registry).await;
        }
        let before = self.position;
        self.position = before.max(position);
        let kind = match kind {
            FeedChangeKind::Operation(operation) => {
                let kind = PastChangeKind::Operation(operation);
                let change = PastChange::new(position, wall_time, kind);
                if let Some(event) = operation.event_in(reply) {
                    self.metrics.delivery.events_received.inc();
                    self.apply_event(event, &change, before).await;
                }
                return Some(change);
            }
            FeedChangeKind::SubscriptionStored(compiled) => {
                let (subscription, filter) = compiled.into_parts();
                let document = subscription.document.clone();
                self.upsert(Entry::new(subscription), filter).await;
                PastChangeKind::SubscriptionStored(document)
            }
            FeedChangeKind::SubscriptionDeleted(document_key) => {
                let when = When::Committed(wall_time);
                self.delete(&DocumentKey::of(&document_key), when).await;
                PastChangeKind::SubscriptionDeleted(document_key)
            }
            FeedChangeKind::AllSubscriptionsDeleted => {
                let when = When::Committed(wall_time);
                let none = Table::with_capacity(Capacity::from(&self.settings.limits));
                self.replace_all(none, when, None).await;
                PastChangeKind::AllSubscriptionsDeleted
            }
            FeedChangeKind::Missed(reason) => {
                self.notify_gap(reason, before).await;
                PastChangeKind::Missed(reason)
            }
            FeedChangeKind::PositionsLost => {
                self.observers.publish(Observed::PositionsLost).await;
                return None;
            }
        };
        Some(PastChange::new(position, wall_time, kind))
    }

    /// Delivers an event. Subscriptions whose filters cannot be matched with it become invalid. `before` is the
    /// feed's position before the event.
    pub(super) async fn apply_event(
        &mut self,
        document: &RawDocument,
        change: &PastChange,
        before: Position,
    ) {
        let delivered = self
            .delivery
            .event(document, change, &self.subscriptions, &mut self.registry)
            .await;
        if delivered.is_err() {
            Box::pin(self.blame_panics(document, change, before)).await;
        }
        if !self.delivery.matched.too_expensive.is_empty() {
            Box::pin(self.blame_too_expensive(change, before)).await;
        }
        if !self.delivery.matched.undecided.is_empty() {
            Box::pin(self.pass_over_undecided(before)).await;
        }
    }

    /// Applies a load, the first one or a later one. Subscriptions that are gone end, changed ones are announced, and
    /// if history was lost, every connection that stays hears of the gap.
    pub(super) async fn apply_reload(&mut self, reload: Reload) {
        let before = self.position;
        self.position = self.position.max(reload.position);
        self.loaded_at = self.position;
        let when = When::Before(DateTime::now());
        let missed = reload.missed.map(|reason| (reason, before));
        self.replace_all(*reload.subscriptions, when, missed).await;
        self.observers
            .publish(Observed::Loaded(self.position))
            .await;
        self.backlog.restart(self.position);
        self.delivery.hand_over();
        self.announce();
        answer(reload.applied, ());
    }

    /// Replaces all subscriptions. `missed` says why events may be missing, and after which position.
    async fn replace_all(&mut self, all: Table, when: When, missed: Option<(GapReason, Position)>) {
        let difference = self.subscriptions.replace_all(all);
        for (slot, removed) in difference.gone {
            self.end_subscription(slot, &removed, when).await;
        }
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

    async fn delete(&mut self, key: &DocumentKey, when: When) {
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

    async fn upsert(&mut self, mut entry: Entry, filter: Option<Filter>) {
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
        let deleted = DeletedSubscription {
            id: SubscriptionId::from(&*id),
            at: self.position,
            wall_time: when.seen(),
            ending,
            decided: Instant::now(),
            closed: closed.into(),
        };
        self.observers.publish(Observed::Deleted(deleted)).await;
    }
}

/// The time at which a subscription went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum When {
    /// The delete was seen: its commit's wall time.
    Committed(DateTime),
    /// It was found to be gone, at this time of this node's clock.
    Before(DateTime),
}

impl When {
    /// Returns the latest time that it can have been.
    fn latest(self) -> DateTime {
        match self {
            Self::Committed(time) | Self::Before(time) => time,
        }
    }

    /// Returns the commit's wall time, if the delete was seen.
    fn seen(self) -> Option<DateTime> {
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
