//! Applying the feed: batches of changes, and reloads.

use bson::{DateTime, RawDocument};

use super::{
    Batch, Capacity, Change, ChangeKind, Reload, Router, answer,
    compile::compile_off_thread,
    table::{Entry, Slot, Table},
    teardowns::When,
};
use crate::{
    filter::{self, Filter},
    position::Position,
    protocol::{Ending, GapReason},
    receipts::Closed,
    subscription::{DocumentKey, SubscriptionId},
    telemetry::Metrics,
};

impl Router {
    pub(super) async fn apply_batch(&mut self, mut batch: Batch) {
        let mut changes = std::mem::take(&mut batch.changes);
        for change in &mut changes {
            self.apply_change(change, &batch).await;
        }
        batch.changes = changes;
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
        batch.unapplied = None;
        self.backlog.add(batch);
        self.announce();
    }

    /// Applies one change. What is kept of it for replays is the stored form.
    async fn apply_change(&mut self, change: &mut Change, batch: &Batch) {
        if !matches!(change.kind, ChangeKind::Event(_)) {
            // Whatever this is, it has its place behind the events before it.
            self.delivery.flush(&mut self.registry).await;
        }
        let before = self.position;
        self.position = before.max(change.position);
        match std::mem::replace(&mut change.kind, ChangeKind::AllDeleted) {
            ChangeKind::Event(range) => {
                change.kind = ChangeKind::Event(range.clone());
                if let Some(document) = batch.document(&range) {
                    self.metrics.delivery.events_received.inc();
                    self.apply_event(document, change, before).await;
                }
            }
            ChangeKind::Upserted(compiled) => {
                change.kind = ChangeKind::Stored(compiled.subscription.document.clone());
                let (subscription, filter) = compiled.into_parts();
                self.upsert(Entry::new(subscription), filter).await;
            }
            ChangeKind::Deleted(document_key) => {
                let when = When::Committed(change.wall_time);
                self.delete(&DocumentKey::of(&document_key), when).await;
                change.kind = ChangeKind::Deleted(document_key);
            }
            ChangeKind::AllDeleted => {
                let when = When::Committed(change.wall_time);
                let none = Table::with_capacity(Capacity::from(&self.settings.limits));
                self.replace_all(none, when, None).await;
            }
            ChangeKind::Missed(reason) => {
                change.kind = ChangeKind::Missed(reason);
                self.notify_gap(reason, before).await;
            }
            ChangeKind::PositionsLost => {
                self.durable.lost().await;
                change.kind = ChangeKind::PositionsLost;
            }
            other @ (ChangeKind::Stored(_) | ChangeKind::Unseen(_) | ChangeKind::AllReplaced) => {
                change.kind = other;
            }
        }
    }

    /// Delivers an event. Those whose filters cannot be matched with it become invalid here: `before` is
    /// where the feed was.
    pub(super) async fn apply_event(
        &mut self,
        document: &RawDocument,
        change: &Change,
        before: Position,
    ) {
        let delivered = self
            .delivery
            .event(document, change, &self.subscriptions, &mut self.registry)
            .await;
        if delivered.is_err() {
            Box::pin(self.blame_panics(document, change, before)).await;
        }
        if !self.delivery.matched.dear.is_empty() {
            Box::pin(self.blame_dear(change, before)).await;
        }
        if !self.delivery.matched.undecided.is_empty() {
            Box::pin(self.pass_over_undecided(before)).await;
        }
    }

    /// The initial load, and every later one: what is gone ends, what changed is told, and where
    /// history was lost every connection that stays is told of the gap.
    pub(super) async fn apply_reload(&mut self, reload: Reload) {
        let before = self.position;
        self.position = self.position.max(reload.position);
        self.loaded_at = self.position;
        let when = When::Before(DateTime::now());
        let missed = reload.missed.map(|reason| (reason, before));
        self.replace_all(*reload.subscriptions, when, missed).await;
        self.teardowns.loaded(self.position).await;
        self.backlog.restart(self.position);
        self.delivery.hand_over();
        self.announce();
        answer(reload.applied, ());
    }

    /// `missed` is why events may be missing, and where they begin to be.
    async fn replace_all(&mut self, all: Table, when: When, missed: Option<(GapReason, Position)>) {
        let difference = self.subscriptions.replace_all(all);
        for (slot, removed) in difference.gone {
            self.end_subscription(slot, &removed, when).await;
        }
        // First the gap: a client that broke off before it would go on behind it without knowing.
        if let Some((reason, after)) = missed {
            self.notify_gap(reason, after).await;
        }
        for slot in difference.changed {
            self.notify_update(slot).await;
        }
        let durable = self.subscriptions.durable();
        self.durable.whole(durable, self.position).await;
    }

    async fn delete(&mut self, key: &DocumentKey, when: When) {
        let Some((slot, removed)) = self.subscriptions.remove(key) else {
            return;
        };
        self.end_subscription(slot, &removed, when).await;
        self.durable.deleted(&removed, self.position).await;
        let id = key.id();
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
        // A document that cannot be read loses no position by it.
        entry.subscription.durable |= was && entry.error().is_some();
        self.durable.stored(&entry, before, self.position).await;
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
        let connections = self.registry.of(slot).iter();
        let connections: Vec<Closed> = connections.map(|c| c.closed.clone()).collect();
        let ended = self.registry.end_all_of(slot, ending, self.position);
        if ended > 0 {
            tracing::info!(
                subscription = removed.subscription.id().as_deref(),
                ended,
                reason = ending.token(),
                "subscription is gone"
            );
        }
        let deletion = when.deletion(self.position, ending);
        self.teardowns.deleted(removed, deletion, connections).await;
    }
}
