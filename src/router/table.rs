//! The subscriptions a node knows, by id and by filter.

mod gathering;

use std::collections::{BTreeSet, HashSet};

use bson::{RawBsonRef, RawDocument};

pub(crate) use self::gathering::Gathering;
use super::{Compiled, ids::Ids};
use crate::{
    filter::{Filter, FilterIndex},
    subscription::{Status, SubscriptionId},
};

/// The number of a subscription on this node while it exists; used again afterwards.
pub(super) type Slot = u32;

/// All subscriptions, and the index over those that are active.
#[derive(Debug, Default)]
pub struct Table {
    slots: Vec<Option<Compiled>>,
    free: Vec<Slot>,
    ids: Ids,
    index: FilterIndex<Slot>,
    invalid: BTreeSet<String>,
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
    /// How many subscriptions have an id.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes or replaces a subscription. Returns its slot if it existed before and is
    /// different now.
    pub(super) fn upsert(&mut self, mut compiled: Compiled) -> Option<Slot> {
        let Some(id) = compiled.subscription.id() else {
            self.add_nameless(&compiled);
            return None;
        };
        let Some(slot) = self.slot(id) else {
            let filter = compiled.take_active_filter();
            let slot = self.insert(compiled);
            self.enter(slot, filter);
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
        let filter = compiled.take_active_filter();
        self.fill(slot, compiled);
        self.enter(slot, filter);
        Some(slot)
    }

    /// Adds a subscription that has an id, and one that is not known yet. Its filter is left to the
    /// caller.
    fn insert(&mut self, compiled: Compiled) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            number(self.slots.len() - 1)
        });
        if let Some(id) = compiled.subscription.id() {
            self.ids.insert(id, slot);
        }
        self.fill(slot, compiled);
        slot
    }

    fn enter(&mut self, slot: Slot, filter: Option<Filter>) {
        if let Some(filter) = filter {
            self.index.insert(slot, filter);
        }
    }

    fn fill(&mut self, slot: Slot, compiled: Compiled) {
        let status = compiled.status();
        self.counts[status as usize] += 1;
        if let (Status::Invalid, Some(id)) = (status, compiled.subscription.id()) {
            self.invalid.insert(id.to_owned());
        }
        self.slots[slot as usize] = Some(compiled);
    }

    /// Empties a slot, which keeps its id.
    fn forget(&mut self, slot: Slot) -> Option<Compiled> {
        let old = self.slots[slot as usize].take()?;
        self.counts[old.status() as usize] -= 1;
        if let (Status::Invalid, Some(id)) = (old.status(), old.subscription.id()) {
            self.invalid.remove(id);
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
        let slot = self.slot(id)?;
        self.ids.remove(id, slot);
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

    /// Makes `new` the whole truth. What stays keeps its slot.
    pub(super) fn replace_all(&mut self, new: Self) -> Difference {
        let old = std::mem::replace(self, new);
        let mut difference = Difference::default();
        if old.slots.is_empty() {
            return difference;
        }
        self.renumber(&old);
        for (slot, was) in (0..).zip(old.slots) {
            let Some(was) = was else { continue };
            match self.slots.get_mut(slot as usize) {
                Some(Some(is)) if is.subscription.document == was.subscription.document => {
                    *is = was;
                }
                Some(Some(is)) => {
                    is.since = is.since.max(was.since);
                    difference.changed.push(slot);
                }
                _ => difference.gone.push((slot, was)),
            }
        }
        difference
    }

    /// Gives every subscription the slot that `old` has for it, or one that `old` does not use.
    fn renumber(&mut self, old: &Self) {
        let mut fresh = old.free.iter().copied().chain(number(old.slots.len())..);
        let slot_of = |compiled: &Option<Compiled>| old.slot(compiled.as_ref()?.subscription.id()?);
        let slots: Vec<Slot> = (self.slots.iter())
            .filter_map(|compiled| slot_of(compiled).or_else(|| fresh.next()))
            .collect();
        let end = slots.iter().max().map_or(0, |last| last + 1);
        let mut moved: Vec<Option<Compiled>> = (0..end).map(|_| None).collect();
        for (compiled, slot) in self.slots.drain(..).zip(&slots) {
            moved[*slot as usize] = compiled;
        }
        self.free = (0..end)
            .filter(|slot| moved[*slot as usize].is_none())
            .collect();
        self.slots = moved;
        self.ids.renumber(|slot| slots[slot as usize]);
        self.index.rekey(|slot| slots[slot as usize]);
    }

    /// The slot of an id.
    pub(super) fn slot(&self, id: &str) -> Option<Slot> {
        self.ids.find(id, |slot| self.is(slot, id))
    }

    fn is(&self, slot: Slot, id: &str) -> bool {
        self.get(slot)
            .is_some_and(|compiled| compiled.subscription.id() == Some(id))
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
        let all = self.invalid.iter();
        all.filter(|id| after.is_none_or(|after| id.as_str() > after))
            .take(limit)
            .cloned()
            .collect()
    }

    /// The ids of all durable subscriptions.
    pub(super) fn durable(&self) -> Vec<SubscriptionId> {
        let all = self.slots.iter().flatten();
        all.filter(|compiled| compiled.subscription.durable)
            .filter_map(|compiled| compiled.subscription.id().map(SubscriptionId::from))
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

fn number(slot: usize) -> Slot {
    Slot::try_from(slot).expect("fewer than 2^32 subscriptions")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{filter::Limits, position::Position};
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

    fn table(documents: &[Document]) -> Table {
        let mut table = Table::default();
        for document in documents {
            table.upsert(compiled(document));
        }
        table
    }

    fn matching(table: &Table, event: &Document) -> Vec<String> {
        let mut slots = Vec::new();
        table.matching(&key(event), &mut slots);
        let id = |slot: Slot| table.get(slot).unwrap().subscription.id().unwrap();
        let mut ids: Vec<_> = slots.into_iter().map(|slot| id(slot).to_string()).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn a_reload_tells_what_is_gone_and_what_changed() {
        let mut table = table(&["a", "b", "c"].map(|id| doc! {"_id": id, "filter": {"x": 1}}));
        let slots = ["b", "c"].map(|id| table.slot(id));
        let difference = table.replace_all(self::table(&[
            doc! {"_id": "e", "filter": {"x": 1}},
            doc! {"_id": "c", "filter": {"x": 2}},
            doc! {"_id": "d", "filter": {"x": 1}, "status": "paused"},
            doc! {"_id": ObjectId::new()},
            doc! {"_id": "b", "filter": {"x": 1}},
        ]));
        assert_eq!(difference.gone.len(), 1);
        assert_eq!(difference.gone[0].1.subscription.id(), Some("a"));
        assert_eq!(difference.changed, [table.slot("c").unwrap()]);
        assert_eq!(
            ["b", "c"].map(|id| table.slot(id)),
            slots,
            "what stays keeps its slot"
        );
        assert_eq!(matching(&table, &doc! {"x": 1}), ["b", "e"]);
        assert_eq!(matching(&table, &doc! {"x": 2}), ["c"]);
        assert_eq!(table.counts(), [3, 1, 1]);
    }

    /// Everything that a table can do goes on after a reload as before.
    #[test]
    fn a_reloaded_table_is_changed_like_any_other() {
        let mut table = table(&["a", "b", "c", "d"].map(|id| doc! {"_id": id, "filter": {"x": 1}}));
        table.remove(&key(&doc! {"_id": "b"}));
        table.replace_all(self::table(
            &["d", "c", "e", "f"].map(|id| doc! {"_id": id, "filter": {"x": 1}}),
        ));
        table.upsert(compiled(&doc! {"_id": "g", "filter": {"x": 1}}));
        table.upsert(compiled(&doc! {"_id": "d", "filter": {"x": 2}}));
        table.remove(&key(&doc! {"_id": "e"}));
        assert_eq!(matching(&table, &doc! {"x": 1}), ["c", "f", "g"]);
        assert_eq!(matching(&table, &doc! {"x": 2}), ["d"]);
        assert_eq!(table.replace_all(Table::default()).gone.len(), 4);
        assert_eq!(table.counts(), [0, 0, 0]);
        assert!(table.slot("c").is_none());
    }

    #[test]
    fn a_reload_keeps_since_when_there_was_a_subscription() {
        let since = Position::at(bson::Timestamp {
            time: 5,
            increment: 1,
        });
        let mut table = Table::default();
        for id in ["same", "changed"] {
            let mut made = compiled(&doc! {"_id": id});
            made.since = since;
            table.upsert(made);
        }
        table.replace_all(self::table(&[
            doc! {"_id": "changed", "filter": {"x": 1}},
            doc! {"_id": "same"},
            doc! {"_id": "new"},
        ]));
        let known = |id| table.get(table.slot(id).unwrap()).unwrap().since;
        assert_eq!(
            ["same", "changed", "new"].map(known),
            [since, since, Position::START]
        );
    }
}
