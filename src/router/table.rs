//! The subscriptions a node knows, by id and by filter.

mod builder;
mod capacity;
mod entry;
mod expiries;
mod ids;
#[cfg(test)]
mod tests;
mod unaddressable;
mod warnings;

use std::{
    collections::BTreeSet,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bson::{DateTime, RawDocument};

pub(super) use self::unaddressable::Successor;
use self::{expiries::Expiries, ids::Ids, unaddressable::Unaddressable, warnings::Warnings};

pub(crate) use self::builder::TableBuilder;
pub(crate) use self::capacity::{Capacity, Occupancy};
pub(crate) use self::entry::Entry;
use super::Incarnation;
use crate::{
    filter::{Effort, Filter, FilterIndex},
    subscription::{CompiledSubscription, DocumentKey, FILTER_PANICKED, Status, Subscription},
};

/// The number of a subscription on this node while it exists; used again afterwards.
pub(super) type Slot = u32;

/// All subscriptions, and the index over those that are active.
#[derive(Debug, Default)]
pub(crate) struct Table {
    slots: Vec<Option<Entry>>,
    free: Vec<Slot>,
    ids: Ids,
    index: FilterIndex<Slot>,
    /// All that are invalid, those that no id addresses among them.
    invalid: BTreeSet<DocumentKey>,
    unaddressable: Unaddressable,
    /// Those that are invalid since their filters could not be matched with an event.
    unmatchable: BTreeSet<Slot>,
    expiries: Expiries,
    warnings: Warnings,
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
    pub(super) gone: Vec<(Slot, Entry)>,
    pub(super) changed: Vec<Slot>,
}

impl Table {
    /// An empty table that holds so much at most; what is more is known by its id alone, and invalid.
    pub(crate) fn with_capacity(most: Capacity) -> Self {
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
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Makes or replaces a subscription. Returns its slot if it existed before and is
    /// different now.
    pub(super) fn upsert(&mut self, entry: Entry, filter: Option<Filter>) -> Option<Slot> {
        if self.is_unaddressable(&entry.subscription) {
            self.set_aside(&entry);
            return None;
        }
        let slot = (entry.subscription.id()).and_then(|id| self.slot(&id));
        let entry = self.fitted(entry, slot);
        let filter = filter.filter(|_| !entry.withheld);
        let Some(slot) = slot else {
            let slot = self.insert(entry);
            self.enter(slot, filter);
            return None;
        };
        let same = self
            .get(slot)
            .is_some_and(|old| old.subscription.document == entry.subscription.document);
        if same {
            return None;
        }
        self.replace(slot, entry);
        self.enter(slot, filter);
        Some(slot)
    }

    /// Puts a document in the place of another one of the same id, which is set aside where it is not an
    /// earlier state of the same. The filter is left to the caller.
    fn replace(&mut self, slot: Slot, mut entry: Entry) {
        let Some(old) = self.forget(slot) else { return };
        let same = old.subscription.key() == entry.subscription.key();
        if same {
            entry.since = entry.since.max(old.since);
        }
        // The subscription comes first where there is not room for both.
        self.fill(slot, entry);
        if !same {
            self.set_aside(&old);
        }
    }

    /// The document as it may be held in the place of what is in its slot now: whole, if there is room.
    fn fitted(&self, entry: Entry, slot: Option<Slot>) -> Entry {
        if self.has_room_for(&entry, slot) {
            entry
        } else {
            entry.withheld()
        }
    }

    /// Whether a document is no subscription beside those that there are: it has no id, or another one
    /// has its id as a string.
    pub(super) fn is_unaddressable(&self, subscription: &Subscription) -> bool {
        let Some(id) = subscription.id() else {
            return true;
        };
        let held = self.slot(&id).and_then(|slot| self.get(slot));
        held.is_some_and(|held| !subscription.key().prevails_over(&held.subscription.key()))
    }

    /// Whether a document may be held whole, in the place of what is in its slot now.
    fn has_room_for(&self, entry: &Entry, slot: Option<Slot>) -> bool {
        let mut without = self.occupancy;
        let old = slot.and_then(|slot| self.get(slot));
        if let Some(old) = old.filter(|old| !old.withheld) {
            without.remove(old.subscription.document.as_bytes().len());
        }
        without.has_room_for(Capacity {
            subscriptions: 1,
            bytes: entry.subscription.document.as_bytes().len(),
        })
    }

    /// Keeps a document apart, whole if there is room.
    fn set_aside(&mut self, entry: &Entry) {
        let subscription = &entry.subscription;
        let key = subscription.key();
        if let Some(bytes) = self.unaddressable.held_bytes(&key) {
            self.occupancy.remove(bytes);
        }
        let withheld = entry.withheld || !self.has_room_for(entry, None);
        let new = self.unaddressable.insert(subscription, withheld);
        if let Some(bytes) = self.unaddressable.held_bytes(&key) {
            self.occupancy.add(bytes);
        }
        self.warnings
            .see(subscription, self.unaddressable.fault(&key));
        if new {
            self.counts[Status::Invalid as usize] += 1;
            self.invalid.insert(key);
        }
    }

    /// Adds a subscription that has an id, and one that is not known yet. Its filter is left to the
    /// caller.
    fn insert(&mut self, entry: Entry) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            number(self.slots.len() - 1)
        });
        if let Some(id) = entry.subscription.id() {
            self.ids.insert(&id, slot);
        }
        self.fill(slot, entry);
        slot
    }

    fn enter(&mut self, slot: Slot, filter: Option<Filter>) {
        let Some(filter) = filter else { return };
        let entering = AssertUnwindSafe(|| self.index.insert(slot, filter));
        if catch_unwind(entering).is_err() {
            self.blame(slot, FILTER_PANICKED.into());
        }
    }

    fn fill(&mut self, slot: Slot, entry: Entry) {
        let status = entry.status();
        self.counts[status as usize] += 1;
        self.warnings.see(&entry.subscription, entry.error());
        if status == Status::Invalid {
            self.invalid.insert(entry.subscription.key());
        }
        self.expiries.insert(slot, entry.subscription.expires_at);
        if !entry.withheld {
            let bytes = entry.subscription.document.as_bytes().len();
            self.occupancy.add(bytes);
        }
        self.slots[slot as usize] = Some(entry);
    }

    /// Empties a slot, which keeps its id.
    fn forget(&mut self, slot: Slot) -> Option<Entry> {
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
        self.unmatchable.remove(&slot);
        Some(old)
    }

    /// Removes the subscription of this key. Nothing is returned where it was kept apart.
    pub(super) fn remove(&mut self, key: &DocumentKey) -> Option<(Slot, Entry)> {
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
    pub(super) fn successor(&mut self, id: &str) -> Option<Successor> {
        let successor = self.unaddressable.successor(id)?;
        self.take_back(&DocumentKey::of(&successor.document))
            .then_some(successor)
    }

    /// Sets a document aside no more; false if it was not.
    fn take_back(&mut self, key: &DocumentKey) -> bool {
        if let Some(bytes) = self.unaddressable.held_bytes(key) {
            self.occupancy.remove(bytes);
        }
        let was = self.unaddressable.remove(key);
        if was {
            self.counts[Status::Invalid as usize] -= 1;
            self.invalid.remove(key);
        }
        was
    }

    /// Makes `new` the whole truth. What stays keeps its slot.
    pub(super) fn replace_all(&mut self, new: Self) -> Difference {
        let mut old = std::mem::replace(self, new);
        self.warnings.after(std::mem::take(&mut old.warnings));
        let mut difference = Difference::default();
        if old.slots.is_empty() {
            return difference;
        }
        self.renumber(&old);
        let mut unmatchable = Vec::new();
        for (slot, was) in (0..).zip(old.slots) {
            let Some(was) = was else { continue };
            match self.slots.get_mut(slot as usize) {
                Some(Some(is)) if is.subscription.document == was.subscription.document => {
                    is.since = was.since;
                    is.subscription.durable |= was.subscription.durable;
                    let fault = was
                        .subscription
                        .fault
                        .filter(|_| old.unmatchable.contains(&slot));
                    unmatchable.extend(fault.map(|fault| (slot, fault)));
                }
                Some(Some(is)) => {
                    is.since = is.since.max(was.since);
                    difference.changed.push(slot);
                }
                _ => difference.gone.push((slot, was)),
            }
        }
        for (slot, fault) in unmatchable {
            self.blame(slot, fault);
        }
        difference
    }

    /// Gives every subscription the slot that `old` has for it, or one that `old` does not use.
    fn renumber(&mut self, old: &Self) {
        let mut fresh = old.free.iter().copied().chain(number(old.slots.len())..);
        let slot_of = |entry: &Option<Entry>| old.slot(&entry.as_ref()?.subscription.id()?);
        let slots: Vec<Slot> = (self.slots.iter())
            .filter_map(|entry| slot_of(entry).or_else(|| fresh.next()))
            .collect();
        let end = slots.iter().max().map_or(0, |last| last + 1);
        let mut moved: Vec<Option<Entry>> = (0..end).map(|_| None).collect();
        for (entry, slot) in self.slots.drain(..).zip(&slots) {
            moved[*slot as usize] = entry;
        }
        self.free = (0..end)
            .filter(|slot| moved[*slot as usize].is_none())
            .collect();
        self.slots = moved;
        self.expiries = Expiries::default();
        for (slot, entry) in (0..).zip(&self.slots) {
            let at = entry.as_ref().and_then(|c| c.subscription.expires_at);
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
            .is_some_and(|entry| entry.subscription.id().as_deref() == Some(id))
    }

    /// The subscription in a slot.
    pub(super) fn get(&self, slot: Slot) -> Option<&Entry> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// Whether exactly this document is what the table holds under its id.
    pub(super) fn holds(&self, document: &RawDocument) -> bool {
        self.held(&DocumentKey::of(document))
            .is_some_and(|entry| *entry.subscription.document == *document)
    }

    fn held(&self, key: &DocumentKey) -> Option<&Entry> {
        let held = self.get(self.slot(&key.id()?)?)?;
        (held.subscription.key() == *key).then_some(held)
    }

    /// Adds what is wrong with a document that nothing in it shows.
    pub(super) fn judge(&self, read: &mut CompiledSubscription) {
        if read.error().is_none()
            && let Some(fault) = self.fault(&read.subscription.document)
        {
            read.blame(fault.into());
        }
    }

    /// What is wrong with a document, as it is applied.
    fn fault(&self, document: &RawDocument) -> Option<&str> {
        let key = DocumentKey::of(document);
        if let Some(fault) = self.unaddressable.fault(&key) {
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
                    .is_some_and(|entry| entry.subscription.gets(committed))
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
        if self.get(slot).map(Entry::status) != Some(Status::Active) {
            return false;
        }
        let Some(mut unmatchable) = self.forget(slot) else {
            return false;
        };
        unmatchable.subscription.fault = Some(fault);
        self.fill(slot, unmatchable);
        self.unmatchable.insert(slot);
        true
    }

    /// How many subscriptions are invalid since their filters could not be matched.
    pub(super) fn unmatchable(&self) -> usize {
        self.unmatchable.len()
    }

    /// When the next subscription expires.
    pub(super) fn next_expiry(&self) -> Option<DateTime> {
        self.expiries.next()
    }

    /// Keys of invalid subscriptions in order, after one, at most `limit`.
    pub(super) fn invalid_after(
        &self,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Vec<DocumentKey> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let after = self.invalid.range((from, Bound::Unbounded));
        after.take(limit).cloned().collect()
    }

    /// Says in the log what there is to say of documents, once each.
    pub(super) fn log_warnings(&mut self) {
        self.warnings.say();
    }

    /// All durable subscriptions.
    pub(super) fn durable(&self) -> Arc<[Incarnation]> {
        let all = self.slots.iter().flatten();
        all.filter(|entry| entry.subscription.durable)
            .filter_map(Entry::incarnation)
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
