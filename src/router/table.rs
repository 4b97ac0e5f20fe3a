//! The subscriptions a node knows, by id and by filter.

mod apart;
mod expiries;
mod gathering;
mod notices;
mod room;

use std::{
    collections::BTreeSet,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
};

use bson::{DateTime, RawDocument, RawDocumentBuf};

use self::{apart::Apart, expiries::Expiries, notices::Notices};

pub(crate) use self::gathering::Gathering;
pub use self::room::{Occupancy, Room};
use super::{Compiled, ids::Ids};
use crate::{
    filter::{Effort, Filter, FilterIndex},
    positions::Owner,
    subscription::{Key, Status, Subscription},
};

/// Why a subscription is invalid whose filter made this service panic.
pub(crate) const FAILED: &str = "#/filter: the service failed to use it";

/// The number of a subscription on this node while it exists; used again afterwards.
pub(super) type Slot = u32;

/// All subscriptions, and the index over those that are active.
#[derive(Debug, Default)]
pub struct Table {
    slots: Vec<Option<Compiled>>,
    free: Vec<Slot>,
    ids: Ids,
    index: FilterIndex<Slot>,
    /// All that are invalid, those that are kept apart among them.
    invalid: BTreeSet<Key>,
    apart: Apart,
    /// Those that are invalid since their filters could not be matched with an event.
    blamed: BTreeSet<Slot>,
    expiries: Expiries,
    notices: Notices,
    occupancy: Occupancy,
    counts: [u64; Status::ALL.len()],
}

/// What an event meets.
#[derive(Debug, Default)]
pub(super) struct Matched {
    /// Subscriptions that match.
    pub(super) slots: Vec<Slot>,
    /// Subscriptions of which that cannot be decided within their budget.
    pub(super) dear: Vec<Slot>,
    /// Subscriptions of which that was not decided, for what others took.
    pub(super) undecided: Vec<Slot>,
}

impl Matched {
    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.dear.clear();
        self.undecided.clear();
    }
}

/// A filter panicked, or what all filters share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panicked;

/// What a reload changed.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) gone: Vec<(Slot, Compiled)>,
    pub(super) changed: Vec<Slot>,
}

impl Table {
    /// An empty table that holds so much at most; what is more is known by its id alone, and invalid.
    pub(crate) fn with_room(most: Room) -> Self {
        Self {
            occupancy: Occupancy {
                most,
                ..Occupancy::default()
            },
            ..Self::default()
        }
    }

    /// How full it is.
    pub(super) fn occupancy(&self) -> Occupancy {
        self.occupancy
    }

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
        if self.is_apart(&compiled.subscription) {
            self.set_apart(&compiled.subscription);
            return None;
        }
        let slot = (compiled.subscription.id()).and_then(|id| self.slot(&id));
        if !self.has_room_for(&compiled, slot) {
            compiled = compiled.withheld();
        }
        let Some(slot) = slot else {
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
            if old.subscription.key() == compiled.subscription.key() {
                compiled.since = compiled.since.max(old.since);
            } else {
                self.set_apart(&old.subscription);
            }
        }
        let filter = compiled.take_active_filter();
        self.fill(slot, compiled);
        self.enter(slot, filter);
        Some(slot)
    }

    /// Whether a document is no subscription beside those that there are: it has no id, or another one
    /// has its id as a string.
    pub(super) fn is_apart(&self, subscription: &Subscription) -> bool {
        let Some(id) = subscription.id() else {
            return true;
        };
        let held = self.slot(&id).and_then(|slot| self.get(slot));
        held.is_some_and(|held| !subscription.key().prevails_over(&held.subscription.key()))
    }

    /// Whether a document may be held whole, in the place of what is in its slot now.
    fn has_room_for(&self, compiled: &Compiled, slot: Option<Slot>) -> bool {
        let mut without = self.occupancy;
        let old = slot.and_then(|slot| self.get(slot));
        if let Some(old) = old.filter(|old| !old.withheld) {
            without.remove(old.subscription.document.as_bytes().len());
        }
        without.has_room_for(Room {
            subscriptions: 1,
            bytes: compiled.subscription.document.as_bytes().len(),
        })
    }

    fn set_apart(&mut self, subscription: &Subscription) {
        let new = self.apart.insert(subscription);
        let fault = self.apart.fault(&subscription.key());
        self.notices.see(subscription, fault);
        if new {
            self.counts[Status::Invalid as usize] += 1;
            self.invalid.insert(subscription.key());
        }
    }

    /// Adds a subscription that has an id, and one that is not known yet. Its filter is left to the
    /// caller.
    fn insert(&mut self, compiled: Compiled) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            number(self.slots.len() - 1)
        });
        if let Some(id) = compiled.subscription.id() {
            self.ids.insert(&id, slot);
        }
        self.fill(slot, compiled);
        slot
    }

    fn enter(&mut self, slot: Slot, filter: Option<Filter>) {
        let Some(filter) = filter else { return };
        let entering = AssertUnwindSafe(|| self.index.insert(slot, filter));
        if catch_unwind(entering).is_err() {
            self.blame(slot, FAILED.into());
        }
    }

    fn fill(&mut self, slot: Slot, compiled: Compiled) {
        let status = compiled.status();
        self.counts[status as usize] += 1;
        self.notices.see(&compiled.subscription, compiled.error());
        if status == Status::Invalid {
            self.invalid.insert(compiled.subscription.key());
        }
        self.expiries.insert(slot, compiled.subscription.expires_at);
        if !compiled.withheld {
            let bytes = compiled.subscription.document.as_bytes().len();
            self.occupancy.add(bytes);
        }
        self.slots[slot as usize] = Some(compiled);
    }

    /// Empties a slot, which keeps its id.
    fn forget(&mut self, slot: Slot) -> Option<Compiled> {
        let old = self.slots[slot as usize].take()?;
        self.counts[old.status() as usize] -= 1;
        self.expiries.remove(slot, old.subscription.expires_at);
        if !old.withheld {
            let bytes = old.subscription.document.as_bytes().len();
            self.occupancy.remove(bytes);
        }
        if old.status() == Status::Invalid {
            self.invalid.remove(&old.subscription.key());
        }
        self.index.remove(slot);
        self.blamed.remove(&slot);
        Some(old)
    }

    /// Removes the subscription of this key. Nothing is returned where it was kept apart.
    pub(super) fn remove(&mut self, key: &Key) -> Option<(Slot, Compiled)> {
        if self.take_back(key) {
            return None;
        }
        let id = key.id()?;
        let slot = self.slot(&id)?;
        (self.get(slot)?.subscription.key() == *key).then_some(())?;
        self.ids.remove(&id, slot);
        let old = self.forget(slot)?;
        self.free.push(slot);
        Some((slot, old))
    }

    /// The document that is the subscription of this id now that none is, if there is one.
    pub(super) fn heir(&mut self, id: &str) -> Option<RawDocumentBuf> {
        let heir = self.apart.heir(id)?;
        self.take_back(&Key::of(&heir)).then_some(heir)
    }

    /// Keeps a document apart no more; false if it was not.
    fn take_back(&mut self, key: &Key) -> bool {
        let was = self.apart.remove(key);
        if was {
            self.counts[Status::Invalid as usize] -= 1;
            self.invalid.remove(key);
        }
        was
    }

    /// Makes `new` the whole truth. What stays keeps its slot.
    pub(super) fn replace_all(&mut self, new: Self) -> Difference {
        let mut old = std::mem::replace(self, new);
        self.notices.after(std::mem::take(&mut old.notices));
        let mut difference = Difference::default();
        if old.slots.is_empty() {
            return difference;
        }
        self.renumber(&old);
        let mut blamed = Vec::new();
        for (slot, was) in (0..).zip(old.slots) {
            let Some(was) = was else { continue };
            match self.slots.get_mut(slot as usize) {
                Some(Some(is)) if is.subscription.document == was.subscription.document => {
                    is.since = was.since;
                    is.subscription.durable |= was.subscription.durable;
                    let fault = was
                        .subscription
                        .fault
                        .filter(|_| old.blamed.contains(&slot));
                    blamed.extend(fault.map(|fault| (slot, fault)));
                }
                Some(Some(is)) => {
                    is.since = is.since.max(was.since);
                    difference.changed.push(slot);
                }
                _ => difference.gone.push((slot, was)),
            }
        }
        for (slot, fault) in blamed {
            self.blame(slot, fault);
        }
        difference
    }

    /// Gives every subscription the slot that `old` has for it, or one that `old` does not use.
    fn renumber(&mut self, old: &Self) {
        let mut fresh = old.free.iter().copied().chain(number(old.slots.len())..);
        let slot_of =
            |compiled: &Option<Compiled>| old.slot(&compiled.as_ref()?.subscription.id()?);
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
        self.expiries = Expiries::default();
        for (slot, compiled) in (0..).zip(&self.slots) {
            let at = compiled.as_ref().and_then(|c| c.subscription.expires_at);
            self.expiries.insert(slot, at);
        }
        self.ids.renumber(|slot| slots[slot as usize]);
        self.index.rekey(|slot| slots[slot as usize]);
    }

    /// The slot of an id.
    pub(super) fn slot(&self, id: &str) -> Option<Slot> {
        self.ids.find(id, |slot| self.is(slot, id))
    }

    fn is(&self, slot: Slot, id: &str) -> bool {
        self.get(slot)
            .is_some_and(|compiled| compiled.subscription.id().as_deref() == Some(id))
    }

    /// The subscription in a slot.
    pub(super) fn get(&self, slot: Slot) -> Option<&Compiled> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// Whether exactly this document is what the table holds under its id.
    pub(super) fn holds(&self, document: &RawDocument) -> bool {
        self.held(&Key::of(document))
            .is_some_and(|compiled| *compiled.subscription.document == *document)
    }

    fn held(&self, key: &Key) -> Option<&Compiled> {
        let held = self.get(self.slot(&key.id()?)?)?;
        (held.subscription.key() == *key).then_some(held)
    }

    /// Adds what is wrong with a document that nothing in it shows.
    pub(super) fn judge(&self, read: &mut Compiled) {
        if read.error().is_none() {
            let fault = self.fault(&read.subscription.document);
            read.subscription.fault = fault.map(Into::into);
        }
    }

    /// What is wrong with a document, as it is applied.
    fn fault(&self, document: &RawDocument) -> Option<&str> {
        let key = Key::of(document);
        if let Some(fault) = self.apart.fault(&key) {
            return Some(fault);
        }
        let held = self.held(&key)?;
        let fault = held.subscription.fault.as_deref()?;
        let same = held.withheld || *held.subscription.document == *document;
        same.then_some(fault)
    }

    /// Finds every active subscription whose filter matches or is too expensive, and that had not expired
    /// when the event was committed. That is asked of each commit alone: the servers' clocks may go back.
    pub(super) fn matching(
        &self,
        document: &RawDocument,
        committed: DateTime,
        matched: &mut Matched,
    ) -> Result<Effort<Slot>, Panicked> {
        matched.clear();
        let Matched {
            slots,
            dear,
            undecided,
        } = &mut *matched;
        let matching = AssertUnwindSafe(|| self.index.matching_within(document, slots, dear));
        let mut effort = catch_unwind(matching).map_err(|_| Panicked)?;
        undecided.append(&mut effort.undecided);
        if self.expiries.any_before(committed) {
            let gets = |slot: &Slot| {
                self.get(*slot)
                    .is_some_and(|compiled| compiled.subscription.gets(committed))
            };
            slots.retain(gets);
            dear.retain(gets);
            undecided.retain(gets);
        }
        Ok(effort)
    }

    /// The subscriptions whose filters panic on a document.
    pub(super) fn panicking(&self, document: &RawDocument) -> Vec<Slot> {
        self.index.panicking(document)
    }

    /// Makes a subscription invalid that is active, until its document changes. Says whether it was.
    pub(super) fn blame(&mut self, slot: Slot, fault: Box<str>) -> bool {
        if self.get(slot).map(Compiled::status) != Some(Status::Active) {
            return false;
        }
        let Some(mut blamed) = self.forget(slot) else {
            return false;
        };
        blamed.subscription.fault = Some(fault);
        self.fill(slot, blamed);
        self.blamed.insert(slot);
        true
    }

    /// How many subscriptions are invalid since their filters could not be matched.
    pub(super) fn blamed(&self) -> usize {
        self.blamed.len()
    }

    /// The slot that holds exactly this document.
    pub(super) fn slot_of(&self, document: &RawDocument) -> Option<Slot> {
        let slot = self.slot(&Key::of(document).id()?)?;
        self.holds(document).then_some(slot)
    }

    /// When the next subscription expires.
    pub(super) fn next_expiry(&self) -> Option<DateTime> {
        self.expiries.next()
    }

    /// Keys of invalid subscriptions in order, after one, at most `limit`.
    pub(super) fn invalid_after(&self, after: Option<&Key>, limit: usize) -> Vec<Key> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let after = self.invalid.range((from, Bound::Unbounded));
        after.take(limit).cloned().collect()
    }

    /// Says in the log what there is to say of documents, once each.
    pub(super) fn say_notices(&mut self) {
        self.notices.say();
    }

    /// All durable subscriptions.
    pub(super) fn durable(&self) -> Vec<Owner> {
        let all = self.slots.iter().flatten();
        all.filter(|compiled| compiled.subscription.durable)
            .filter_map(Compiled::owner)
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
    use crate::{
        filter::{Limits, fault},
        position::Position,
    };
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

    fn of(id: impl Into<bson::Bson>) -> Key {
        Key::from_bson(id.into()).unwrap()
    }

    fn matched(table: &Table, event: &Document) -> usize {
        matching(table, event).len()
    }

    #[test]
    fn only_active_subscriptions_match_and_each_status_is_counted() {
        let mut table = Table::default();
        table.upsert(compiled(&doc! {"_id": "a", "filter": {"x": 1}}));
        table.upsert(compiled(
            &doc! {"_id": "b", "filter": {"x": 1}, "status": "paused"},
        ));
        table.upsert(compiled(&doc! {"_id": "c", "filter": {"x": {"$foo": 1}}}));
        table.upsert(compiled(&doc! {"_id": 5, "filter": {}}));
        assert_eq!(table.counts(), [1, 1, 2]);
        assert_eq!(matched(&table, &doc! {"x": 1}), 1);
        let invalid = [of("c"), of(5)];
        assert_eq!(table.invalid_after(None, 10), invalid);
        assert_eq!(table.invalid_after(None, 1), invalid[..1]);
        assert_eq!(table.invalid_after(Some(&of("c")), 10), invalid[1..]);
        assert_eq!(table.invalid_after(Some(&of(5)), 10), []);
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
        assert_eq!(table.invalid_after(None, 1), []);
    }

    #[test]
    fn removing_forgets_everything() {
        let mut table = Table::default();
        table.upsert(compiled(&doc! {"_id": "a", "filter": {"x": 1}}));
        table.upsert(compiled(&doc! {"_id": 5}));
        table.upsert(compiled(&doc! {"_id": 5, "name": "n"}));
        assert_eq!(table.counts(), [1, 0, 1]);
        assert!(table.remove(&of(5)).is_none());
        assert!(table.remove(&of("a")).is_some());
        assert!(table.remove(&of("a")).is_none());
        assert_eq!(table.counts(), [0, 0, 0]);
        assert_eq!(matched(&table, &doc! {"x": 1}), 0);
    }

    #[test]
    fn what_finds_no_room_is_known_and_invalid_until_there_is_some() {
        let document = |id: &str, filter: Document| doc! {"_id": id, "filter": filter};
        let small = document("a", doc! {"x": 1});
        let bytes = key(&small).as_bytes().len();
        let mut table = Table::with_room(Room {
            subscriptions: 2,
            bytes: 3 * bytes,
        });
        for id in ["a", "b", "c"] {
            table.upsert(compiled(&document(id, doc! {"x": 1})));
        }
        assert_eq!(table.counts(), [2, 0, 1]);
        assert_eq!(matched(&table, &doc! {"x": 1}), 2);
        let third = document("c", doc! {"x": 1});
        assert!(
            table
                .fault(&key(&third))
                .unwrap()
                .contains("limits.subscriptions")
        );
        let large = document("b", doc! {"x": "long".repeat(100)});
        assert!(table.upsert(compiled(&large)).is_some(), "told as a change");
        assert_eq!(table.counts(), [1, 0, 2]);
        table.upsert(compiled(&document("b", doc! {"x": 1})));
        assert_eq!(table.counts(), [2, 0, 1]);
        assert!(table.remove(&of("a")).is_some());
        assert!(table.upsert(compiled(&third)).is_some());
        assert_eq!(table.counts(), [2, 0, 0]);
        assert_eq!(matched(&table, &doc! {"x": 1}), 2);
        for id in ["b", "c"] {
            assert!(table.remove(&of(id)).is_some());
        }
        assert_eq!(table.occupancy().held, Room::default());
    }

    /// Whatever comes first, after a reload too.
    #[test]
    fn of_a_string_and_an_object_id_of_the_same_digits_the_string_is_the_subscription() {
        let id = ObjectId::new();
        let (named, digits) = (id.to_hex(), doc! {"_id": id, "filter": {"x": 1}});
        let named = doc! {"_id": named, "filter": {"x": 2}};
        for order in [[&digits, &named], [&named, &digits]] {
            let mut table = Table::default();
            for document in order {
                table.upsert(compiled(document));
            }
            check_taken(&mut table, id);
        }
        let mut reloaded = Table::default();
        reloaded.replace_all(self::table(&[named, digits]));
        check_taken(&mut reloaded, id);
    }

    fn check_taken(table: &mut Table, id: ObjectId) {
        assert_eq!(table.counts(), [1, 0, 1]);
        assert_eq!(table.invalid_after(None, 2), [of(id)]);
        assert_eq!(matched(table, &doc! {"x": 1}), 0);
        assert_eq!(matched(table, &doc! {"x": 2}), 1);
        assert!(table.fault(&key(&doc! {"_id": id})).is_some());
        assert!(table.remove(&of(id.to_hex())).is_some());
        let heir = table.heir(&id.to_hex()).unwrap();
        table.upsert(Compiled::read(heir, &Limits::default()));
        assert_eq!(table.counts(), [1, 0, 0]);
        assert_eq!(matched(table, &doc! {"x": 1}), 1);
        assert!(table.heir(&id.to_hex()).is_none());
        assert!(table.remove(&of(id)).is_some());
        assert_eq!(table.counts(), [0, 0, 0]);
    }

    #[test]
    fn one_that_is_kept_apart_goes_without_a_trace() {
        let id = ObjectId::new();
        let mut table = self::table(&[
            doc! {"_id": id, "filter": {"x": 1}},
            doc! {"_id": id.to_hex(), "filter": {"x": 1}},
        ]);
        assert!(table.remove(&of(id)).is_none());
        assert_eq!(table.counts(), [1, 0, 0]);
        assert!(table.remove(&of(id.to_hex())).is_some());
        assert!(table.heir(&id.to_hex()).is_none());
    }

    #[test]
    fn what_is_committed_after_the_expiry_does_not_match() {
        let date = DateTime::from_millis;
        let expiring = |id: &str, at| doc! {"_id": id, "filter": {}, "expiresAt": date(at)};
        let mut table = self::table(&[
            doc! {"_id": "never", "filter": {}},
            expiring("a", 5),
            expiring("b", 9),
        ]);
        let matched = |table: &Table, at| {
            let mut matched = Matched::default();
            let found = table.matching(&key(&doc! {}), date(at), &mut matched);
            found.map(|_| matched.slots.len()).unwrap()
        };
        assert_eq!(
            [5, 6, 9, 10, 5].map(|at| matched(&table, at)),
            [3, 2, 2, 1, 3]
        );
        assert_eq!(table.next_expiry(), Some(date(5)));
        table.upsert(compiled(&expiring("a", 20)));
        assert_eq!([6, 10, 21].map(|at| matched(&table, at)), [3, 2, 1]);
        assert_eq!(table.next_expiry(), Some(date(9)));
        table.replace_all(self::table(&[expiring("b", 9), expiring("c", 7)]));
        assert_eq!(table.next_expiry(), Some(date(7)));
        assert_eq!([7, 8, 10].map(|at| matched(&table, at)), [2, 1, 0]);
        for id in ["b", "c"] {
            table.remove(&of(id));
        }
        assert_eq!(table.next_expiry(), None);
    }

    fn table(documents: &[Document]) -> Table {
        let mut table = Table::default();
        for document in documents {
            table.upsert(compiled(document));
        }
        table
    }

    fn matching(table: &Table, event: &Document) -> Vec<String> {
        let mut matched = Matched::default();
        let found = table.matching(&key(event), DateTime::MIN, &mut matched);
        assert!(found.is_ok() && matched.dear.is_empty());
        let slots = matched.slots;
        let id = |slot: Slot| table.get(slot).unwrap().subscription.id().unwrap();
        let mut ids: Vec<_> = slots
            .into_iter()
            .map(|slot| id(slot).into_owned())
            .collect();
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
            doc! {"_id": 5},
            doc! {"_id": "b", "filter": {"x": 1}},
        ]));
        assert_eq!(difference.gone.len(), 1);
        assert_eq!(difference.gone[0].1.subscription.key(), of("a"));
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

    #[test]
    fn one_that_is_blamed_is_invalid_until_its_document_changes_through_a_reload_too() {
        let documents = ["a", "b"].map(|id| doc! {"_id": id, "filter": {"x": 1}});
        let mut table = table(&documents);
        let slot = table.slot("a").unwrap();
        assert!(table.blame(slot, "too much".into()));
        assert!(!table.blame(slot, "again".into()));
        for _ in 0..2 {
            assert_eq!((table.counts(), table.blamed()), ([1, 0, 1], 1));
            assert_eq!(matching(&table, &doc! {"x": 1}), ["b"]);
            let mut read = compiled(&documents[0]);
            table.judge(&mut read);
            assert_eq!(read.error(), Some("too much"));
            assert_eq!(table.invalid_after(None, 9), [of("a")]);
            assert!(table.upsert(compiled(&documents[0])).is_none(), "no change");
            assert!(
                table
                    .replace_all(self::table(&documents))
                    .changed
                    .is_empty()
            );
        }
        table.upsert(compiled(&doc! {"_id": "a", "filter": {"x": 2}}));
        assert_eq!((table.counts(), table.blamed()), ([2, 0, 0], 0));
        assert_eq!(matching(&table, &doc! {"x": 2}), ["a"]);
    }

    #[test]
    fn a_filter_that_panics_is_found_and_the_others_are_not_blamed() {
        let table = table(&[
            doc! {"_id": "a", "filter": {"x": {"$ne": 5}}},
            doc! {"_id": "b", "filter": {"x": {"$ne": fault::TEXT}}},
        ]);
        let event = key(&doc! {"x": 1});
        let found = table.matching(&event, DateTime::MIN, &mut Matched::default());
        assert!(found.is_err());
        assert_eq!(table.panicking(&event), [table.slot("b").unwrap()]);
    }

    #[test]
    fn a_filter_that_panics_when_it_is_compiled_makes_its_subscription_invalid() {
        let table = table(&[
            doc! {"_id": "a", "filter": {"x": 1}},
            doc! {"_id": "b", "filter": {"x": fault::COMPILED}},
        ]);
        assert_eq!(table.counts(), [1, 0, 1]);
        assert_eq!(table.invalid_after(None, 9), [of("b")]);
    }

    /// Everything that a table can do goes on after a reload as before.
    #[test]
    fn a_reloaded_table_is_changed_like_any_other() {
        let mut table = table(&["a", "b", "c", "d"].map(|id| doc! {"_id": id, "filter": {"x": 1}}));
        table.remove(&of("b"));
        table.replace_all(self::table(
            &["d", "c", "e", "f"].map(|id| doc! {"_id": id, "filter": {"x": 1}}),
        ));
        table.upsert(compiled(&doc! {"_id": "g", "filter": {"x": 1}}));
        table.upsert(compiled(&doc! {"_id": "d", "filter": {"x": 2}}));
        table.remove(&of("e"));
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
            let mut made = compiled(&doc! {"_id": id, "filter": {}});
            made.since = since;
            table.upsert(made);
        }
        table.replace_all(self::table(&[
            doc! {"_id": "changed", "filter": {"x": 1}},
            doc! {"_id": "same", "filter": {}},
            doc! {"_id": "new", "filter": {}},
        ]));
        let known = |id| table.get(table.slot(id).unwrap()).unwrap().since;
        assert_eq!(
            ["same", "changed", "new"].map(known),
            [since, since, Position::START]
        );
    }
}
