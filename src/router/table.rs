//! The subscriptions a node knows, by id and by filter.

use std::collections::{BTreeSet, HashMap, HashSet};

use bson::{RawBsonRef, RawDocument};

use super::Compiled;
use crate::{
    filter::FilterIndex,
    subscription::{Status, SubscriptionId},
};

/// The number of a subscription on this node while it exists; used again afterwards.
pub(super) type Slot = u32;

/// All subscriptions, and the index over those that are active.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<Option<Compiled>>,
    free: Vec<Slot>,
    by_id: HashMap<SubscriptionId, Slot>,
    index: FilterIndex<Slot>,
    invalid: BTreeSet<SubscriptionId>,
    /// Documents whose `_id` is not text, by its raw form: they are counted and nothing else.
    nameless: HashSet<Vec<u8>>,
    counts: [u64; Status::ALL.len()],
}

/// What a reload changed.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) gone: Vec<(Slot, Compiled)>,
    pub(super) changed: Vec<Slot>,
}

impl Table {
    /// Makes or replaces a subscription. Returns its slot if it existed before and is different now.
    pub(super) fn upsert(&mut self, mut compiled: Compiled) -> Option<Slot> {
        let Some(id) = compiled.subscription.id.clone() else {
            self.add_nameless(&compiled);
            return None;
        };
        let Some(&slot) = self.by_id.get(&id) else {
            self.insert(id, compiled);
            return None;
        };
        let same = self
            .get(slot)
            .is_some_and(|old| old.subscription.document == compiled.subscription.document);
        if same {
            return None;
        }
        if let Some(old) = self.forget(slot) {
            compiled.since = compiled.since.max(old.since);
        }
        self.fill(slot, compiled);
        Some(slot)
    }

    fn insert(&mut self, id: SubscriptionId, compiled: Compiled) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Slot::try_from(self.slots.len() - 1).expect("fewer than 2^32 subscriptions")
        });
        self.by_id.insert(id, slot);
        self.fill(slot, compiled);
    }

    fn fill(&mut self, slot: Slot, mut compiled: Compiled) {
        let status = compiled.status();
        self.counts[status as usize] += 1;
        if let (Status::Invalid, Some(id)) = (status, &compiled.subscription.id) {
            self.invalid.insert(id.clone());
        }
        if let Some(filter) = compiled.take_active_filter() {
            self.index.insert(slot, filter);
        }
        self.slots[slot as usize] = Some(compiled);
    }

    /// Empties a slot, which keeps its id.
    fn forget(&mut self, slot: Slot) -> Option<Compiled> {
        let old = self.slots[slot as usize].take()?;
        self.counts[old.status() as usize] -= 1;
        if let Some(id) = &old.subscription.id {
            self.invalid.remove(id.as_str());
        }
        self.index.remove(slot);
        Some(old)
    }

    /// Removes the subscription of this `_id` (a document with that one field).
    pub(super) fn remove(&mut self, key: &RawDocument) -> Option<(Slot, Compiled)> {
        let Ok(Some(RawBsonRef::String(id))) = key.get("_id") else {
            if self.nameless.remove(key.as_bytes()) {
                self.counts[Status::Invalid as usize] -= 1;
            }
            return None;
        };
        let (_, slot) = self.by_id.remove_entry(id)?;
        let old = self.forget(slot)?;
        self.free.push(slot);
        Some((slot, old))
    }

    fn add_nameless(&mut self, compiled: &Compiled) {
        let mut key = bson::RawDocumentBuf::new();
        if let Ok(Some(id)) = compiled.subscription.document.get("_id") {
            key.append(bson::raw::cstr!("_id"), bson::RawBson::from(id));
        }
        if self.nameless.insert(key.into_bytes()) {
            self.counts[Status::Invalid as usize] += 1;
        }
    }

    /// Makes `all` the whole truth.
    pub(super) fn replace_all(&mut self, all: Vec<Compiled>) -> Difference {
        let mut difference = Difference::default();
        self.counts[Status::Invalid as usize] -= self.nameless.len() as u64;
        self.nameless.clear();
        let kept: HashSet<SubscriptionId> = all
            .iter()
            .filter_map(|compiled| compiled.subscription.id.clone())
            .collect();
        let gone: Vec<(SubscriptionId, Slot)> =
            self.by_id.extract_if(|id, _| !kept.contains(id)).collect();
        for (_, slot) in gone {
            if let Some(old) = self.forget(slot) {
                self.free.push(slot);
                difference.gone.push((slot, old));
            }
        }
        difference.changed = all
            .into_iter()
            .filter_map(|compiled| self.upsert(compiled))
            .collect();
        difference
    }

    /// The slot of an id.
    pub(super) fn slot(&self, id: &str) -> Option<Slot> {
        self.by_id.get(id).copied()
    }

    /// The subscription in a slot.
    pub(super) fn get(&self, slot: Slot) -> Option<&Compiled> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// Whether exactly this document is what the table holds under its id.
    pub(super) fn holds(&self, document: &RawDocument) -> bool {
        let Ok(Some(RawBsonRef::String(id))) = document.get("_id") else {
            return false;
        };
        self.slot(id)
            .and_then(|slot| self.get(slot))
            .is_some_and(|compiled| *compiled.subscription.document == *document)
    }

    /// Appends the slot of every active subscription whose filter matches.
    pub(super) fn matching(&self, document: &RawDocument, slots: &mut Vec<Slot>) {
        self.index.matching(document, slots);
    }

    /// Ids of invalid subscriptions in order, after one, at most `limit`.
    pub(super) fn invalid_after(&self, after: Option<&str>, limit: usize) -> Vec<String> {
        let all = self.invalid.iter().map(SubscriptionId::as_str);
        all.filter(|id| after.is_none_or(|after| *id > after))
            .take(limit)
            .map(str::to_owned)
            .collect()
    }

    /// The ids of all durable subscriptions.
    pub(super) fn durable(&self) -> Vec<SubscriptionId> {
        let all = self.slots.iter().flatten();
        all.filter(|compiled| compiled.subscription.durable)
            .filter_map(|compiled| compiled.subscription.id.clone())
            .collect()
    }

    /// Filters that the index can only try one by one.
    pub(super) fn scanned(&self) -> u64 {
        self.index.scanned() as u64
    }

    /// How many there are of each status, in the order of [`Status::ALL`].
    pub(super) fn counts(&self) -> [u64; Status::ALL.len()] {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Limits;
    use bson::{Document, RawDocumentBuf, doc, oid::ObjectId};

    fn compiled(document: &Document) -> Compiled {
        Compiled::read(
            RawDocumentBuf::try_from(document).unwrap(),
            &Limits::default(),
        )
    }

    fn key(document: &Document) -> RawDocumentBuf {
        RawDocumentBuf::try_from(document).unwrap()
    }

    fn matched(table: &Table, event: &Document) -> usize {
        let mut slots = Vec::new();
        table.matching(&key(event), &mut slots);
        slots.len()
    }

    #[test]
    fn only_active_subscriptions_match_and_each_status_is_counted() {
        let mut table = Table::default();
        table.upsert(compiled(&doc! {"_id": "a", "filter": {"x": 1}}));
        table.upsert(compiled(
            &doc! {"_id": "b", "filter": {"x": 1}, "status": "paused"},
        ));
        table.upsert(compiled(&doc! {"_id": "c", "filter": {"x": {"$foo": 1}}}));
        table.upsert(compiled(&doc! {"_id": ObjectId::new(), "filter": {}}));
        assert_eq!(table.counts(), [1, 1, 2]);
        assert_eq!(matched(&table, &doc! {"x": 1}), 1);
        assert_eq!(table.invalid_after(None, 10), ["c"]);
        assert_eq!(table.invalid_after(Some("c"), 10), Vec::<String>::new());
    }

    #[test]
    fn a_corrected_document_heals_and_the_same_document_is_no_change() {
        let mut table = Table::default();
        table.upsert(compiled(&doc! {"_id": "a", "filter": {"x": {"$foo": 1}}}));
        let right = doc! {"_id": "a", "filter": {"x": 1}};
        assert!(table.upsert(compiled(&right)).is_some());
        assert!(table.upsert(compiled(&right)).is_none());
        assert!(table.holds(&key(&right)));
        assert_eq!(table.counts(), [1, 0, 0]);
        assert_eq!(table.invalid_after(None, 1), Vec::<String>::new());
    }

    #[test]
    fn removing_forgets_everything() {
        let mut table = Table::default();
        let nameless = ObjectId::new();
        table.upsert(compiled(&doc! {"_id": "a", "filter": {"x": 1}}));
        table.upsert(compiled(&doc! {"_id": nameless}));
        table.upsert(compiled(&doc! {"_id": nameless, "name": "n"}));
        assert_eq!(table.counts(), [1, 0, 1]);
        assert!(table.remove(&key(&doc! {"_id": nameless})).is_none());
        assert!(table.remove(&key(&doc! {"_id": "a"})).is_some());
        assert!(table.remove(&key(&doc! {"_id": "a"})).is_none());
        assert_eq!(table.counts(), [0, 0, 0]);
        assert_eq!(matched(&table, &doc! {"x": 1}), 0);
    }

    #[test]
    fn a_reload_tells_what_is_gone_and_what_changed() {
        let mut table = Table::default();
        for id in ["a", "b", "c"] {
            table.upsert(compiled(&doc! {"_id": id, "filter": {"x": 1}}));
        }
        let difference = table.replace_all(vec![
            compiled(&doc! {"_id": "b", "filter": {"x": 1}}),
            compiled(&doc! {"_id": "c", "filter": {"x": 2}}),
            compiled(&doc! {"_id": "d", "filter": {"x": 1}}),
        ]);
        assert_eq!(difference.gone.len(), 1);
        assert_eq!(difference.changed, [table.slot("c").unwrap()]);
        assert_eq!(matched(&table, &doc! {"x": 1}), 2);
        assert_eq!(table.counts(), [3, 0, 0]);
    }
}
