//! The subscriptions that a node knows, by id and by filter.

mod adhoc;
mod builder;
mod capacity;
mod entry;
mod expiries;
mod holdings;
mod ids;
mod invalid;
mod replace;
#[cfg(test)]
mod tests;
mod unaddressable;
mod warnings;

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bson::{DateTime, RawDocument};

pub(super) use self::unaddressable::Successor;
use self::{
    adhoc::AdHoc, expiries::Expiries, holdings::Holdings, ids::Ids, invalid::InvalidKeys,
    unaddressable::Unaddressable, warnings::Warnings,
};

pub(crate) use self::builder::TableBuilder;
pub(crate) use self::capacity::{Capacity, Occupancy};
pub(crate) use self::entry::Entry;
pub(crate) use self::holdings::Counted;
use super::incarnation::Incarnation;
use crate::{
    access::Sight,
    filter::{Effort, Filter, FilterIndex},
    subscription::{CompiledSubscription, DocumentKey, FILTER_PANICKED, Status, Subscription},
};

/// The number of a subscription on this node. It is used again once the subscription is gone.
pub(super) type Slot = u32;

/// All subscriptions, and the index over those that are active.
#[derive(Debug, Default)]
pub(crate) struct Table {
    slots: Vec<Option<Entry>>,
    free: Vec<Slot>,
    ids: Ids,
    index: FilterIndex<Slot>,
    invalid: InvalidKeys,
    unaddressable: Unaddressable,
    /// The active subscriptions whose filters could not be matched with an event, and which are invalid since.
    unmatchable: BTreeSet<Slot>,
    expiries: Expiries,
    adhoc: AdHoc,
    warnings: Warnings,
    occupancy: Occupancy,
    holdings: Holdings,
    counts: [u64; Status::ALL.len()],
}

/// The subscriptions that an event concerns.
#[derive(Debug, Default)]
pub(super) struct Matched {
    /// Subscriptions that match.
    pub(super) slots: Vec<Slot>,
    /// Those that would exceed their budget of steps.
    pub(super) too_expensive: Vec<Slot>,
    /// Those that were not tried, because of what others took.
    pub(super) undecided: Vec<Slot>,
}

impl Matched {
    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.too_expensive.clear();
        self.undecided.clear();
    }
}

/// A panic while an event was matched: of one filter, or of what all filters share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panicked;

impl Table {
    /// Returns an empty table with this capacity. Whatever exceeds it is known by its id alone, and invalid.
    pub(crate) fn with_capacity(most: Capacity) -> Self {
        Self {
            occupancy: Occupancy {
                most,
                ..Occupancy::default()
            },
            ..Self::default()
        }
    }

    /// Makes an empty table count the subscriptions of each tenant, if callers have one.
    #[must_use]
    pub(crate) fn counting(mut self, counts: bool) -> Self {
        self.holdings = Holdings::new(counts);
        self
    }

    /// Returns the number of subscriptions of a tenant or a key, whatever their status.
    pub(super) fn holdings_of(&self, counted: &Counted) -> usize {
        self.holdings.of(counted)
    }

    /// Returns how full the table is.
    pub(super) fn occupancy(&self) -> Occupancy {
        self.occupancy
    }

    /// Returns the number of subscriptions that have an id.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Makes or replaces a subscription. Returns its slot if it existed before and is different now.
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

    /// Replaces the document in a slot by another one of the same id. If they are not two states of one document, the
    /// old one is set aside. The filter is left to the caller.
    fn replace(&mut self, slot: Slot, mut entry: Entry) {
        let Some(old) = self.forget(slot) else { return };
        let same = old.subscription.key() == entry.subscription.key();
        if same {
            entry.since = entry.since.max(old.since);
        }
        // If there is not room for both, the subscription comes first.
        self.fill(slot, entry);
        if !same {
            self.set_aside(&old);
        }
    }

    /// Returns a document as it may be held in place of the one in its slot: whole if there is room.
    fn fitted(&self, entry: Entry, slot: Option<Slot>) -> Entry {
        if self.has_room_for(&entry, slot) {
            entry
        } else {
            entry.withheld()
        }
    }

    /// Whether a document is no subscription beside the others: it has no id, or another document has its id as a
    /// string.
    pub(super) fn is_unaddressable(&self, subscription: &Subscription) -> bool {
        let Some(id) = subscription.id() else {
            return true;
        };
        let held = self.slot(&id).and_then(|slot| self.get(slot));
        held.is_some_and(|held| !subscription.key().prevails_over(&held.subscription.key()))
    }

    /// Whether a document may be held whole, in place of the one in its slot.
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

    /// Sets a document aside, whole if there is room.
    fn set_aside(&mut self, entry: &Entry) {
        let subscription = &entry.subscription;
        let key = subscription.key();
        if let Some(bytes) = self.unaddressable.held_bytes(&key) {
            self.occupancy.remove(bytes);
        }
        let withheld = entry.withheld || !self.has_room_for(entry, None);
        let before = self.unaddressable.remove(&key);
        self.unaddressable.insert(subscription, withheld);
        if let Some(bytes) = self.unaddressable.held_bytes(&key) {
            self.occupancy.add(bytes);
        }
        self.warnings
            .see(subscription, self.unaddressable.fault(&key));
        match before {
            Some(aside) => self.invalid.remove(&key, aside.tenant.as_deref()),
            None => self.counts[Status::Invalid as usize] += 1,
        }
        self.invalid.insert(key, subscription.tenant());
    }

    /// Adds a subscription that has an id and is not known yet. Its filter is left to the caller.
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
        if entry.adhoc {
            self.slots[slot as usize] = Some(entry);
            return;
        }
        let status = entry.status();
        self.counts[status as usize] += 1;
        self.warnings.see(&entry.subscription, entry.error());
        self.holdings.add(&entry.subscription);
        if status == Status::Invalid {
            let subscription = &entry.subscription;
            self.invalid
                .insert(subscription.key(), subscription.tenant());
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
        if old.adhoc {
            self.index.remove(slot);
            self.unmatchable.remove(&slot);
            return Some(old);
        }
        self.counts[old.status() as usize] -= 1;
        self.holdings.remove(&old.subscription);
        self.expiries.remove(slot, old.subscription.expires_at);
        if !old.withheld {
            let bytes = old.subscription.document.as_bytes().len();
            self.occupancy.remove(bytes);
        }
        if old.status() == Status::Invalid {
            let subscription = &old.subscription;
            self.invalid
                .remove(&subscription.key(), subscription.tenant());
        }
        self.index.remove(slot);
        self.unmatchable.remove(&slot);
        Some(old)
    }

    /// Removes the subscription of this key. `None` if there is none, or if its document had been set aside.
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

    /// Returns the document that becomes the subscription of this id, now that it has none.
    pub(super) fn successor(&mut self, id: &str) -> Option<Successor> {
        let successor = self.unaddressable.successor(id)?;
        self.take_back(&DocumentKey::of(&successor.document))
            .then_some(successor)
    }

    /// Forgets a document that was set aside; false if it was not.
    fn take_back(&mut self, key: &DocumentKey) -> bool {
        if let Some(bytes) = self.unaddressable.held_bytes(key) {
            self.occupancy.remove(bytes);
        }
        let Some(aside) = self.unaddressable.remove(key) else {
            return false;
        };
        self.counts[Status::Invalid as usize] -= 1;
        self.invalid.remove(key, aside.tenant.as_deref());
        true
    }

    /// Returns the slot of an id.
    pub(super) fn slot(&self, id: &str) -> Option<Slot> {
        self.ids.find(id, |slot| self.is(slot, id))
    }

    /// Returns the slot of an id, if its subscription is in sight.
    pub(super) fn visible(&self, id: &str, sight: &Sight) -> Option<Slot> {
        let slot = self.slot(id)?;
        let held = self.get(slot)?;
        sight.sees(id, &held.subscription.document).then_some(slot)
    }

    fn is(&self, slot: Slot, id: &str) -> bool {
        self.get(slot)
            .is_some_and(|entry| entry.subscription.id().as_deref() == Some(id))
    }

    /// Returns the subscription in a slot.
    pub(super) fn get(&self, slot: Slot) -> Option<&Entry> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// Whether the table holds exactly this document under its id.
    pub(super) fn holds(&self, document: &RawDocument) -> bool {
        self.held(&DocumentKey::of(document))
            .is_some_and(|entry| *entry.subscription.document == *document)
    }

    fn held(&self, key: &DocumentKey) -> Option<&Entry> {
        let held = self.get(self.slot(&key.id()?)?)?;
        (held.subscription.key() == *key).then_some(held)
    }

    /// Adds a fault that the document itself does not show.
    pub(super) fn judge(&self, read: &mut CompiledSubscription) {
        if read.error().is_none()
            && let Some(fault) = self.fault(&read.subscription.document)
        {
            read.blame(fault.into());
        }
    }

    /// Returns the fault of a document, as it is applied.
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

    /// Finds every active subscription whose filter matches, or is too expensive to tell. One that had expired when
    /// the event was committed is left out. Each commit is compared by itself, since the servers' clocks may go back.
    pub(super) fn matching(
        &self,
        document: &RawDocument,
        committed: DateTime,
        matched: &mut Matched,
    ) -> Result<Effort<Slot>, Panicked> {
        matched.clear();
        let Matched {
            slots,
            too_expensive,
            undecided,
        } = &mut *matched;
        let matching =
            AssertUnwindSafe(|| self.index.matching_within(document, slots, too_expensive));
        let mut effort = catch_unwind(matching).map_err(|_| Panicked)?;
        undecided.append(&mut effort.undecided);
        if self.expiries.any_before(committed) {
            let gets = |slot: &Slot| {
                self.get(*slot)
                    .is_some_and(|entry| entry.subscription.gets(committed))
            };
            slots.retain(gets);
            too_expensive.retain(gets);
            undecided.retain(gets);
        }
        Ok(effort)
    }

    /// Returns the subscriptions whose filters panic on a document.
    pub(super) fn panicking(&self, document: &RawDocument) -> Vec<Slot> {
        self.index.panicking(document)
    }

    /// Makes an active subscription invalid until its document changes; false if it was not active.
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

    /// Replaces the filter and the fault of a subscription whose document is the same.
    pub(super) fn narrow(&mut self, slot: Slot, compiled: CompiledSubscription) {
        let Some(mut entry) = self.forget(slot) else {
            return;
        };
        let (subscription, filter) = compiled.into_parts();
        if !entry.withheld {
            entry.subscription.fault = subscription.fault;
        }
        let filter = filter.filter(|_| !entry.withheld);
        self.fill(slot, entry);
        self.enter(slot, filter);
    }

    /// Returns the subscriptions with such documents.
    pub(super) fn slots_where(&self, is: impl Fn(&RawDocument) -> bool) -> Vec<Slot> {
        let held = (0..).zip(&self.slots);
        let found = held.filter(|(_, entry)| {
            let entry = entry.as_ref();
            entry.is_some_and(|entry| is(&entry.subscription.document))
        });
        found.map(|(slot, _)| slot).collect()
    }

    /// Returns the number of subscriptions that are invalid because their filters could not be matched.
    pub(super) fn unmatchable(&self) -> usize {
        self.unmatchable.len()
    }

    /// Returns the time at which the next subscription expires.
    pub(super) fn next_expiry(&self) -> Option<DateTime> {
        self.expiries.next()
    }

    /// Returns the keys of invalid subscriptions in order, after one, at most `limit`: those of the tenant of `sight`,
    /// if it has one.
    pub(super) fn invalid_after(
        &self,
        sight: &Sight,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Vec<DocumentKey> {
        self.invalid.after(sight, after, limit)
    }

    /// Logs what is wrong with documents, each fault once.
    pub(super) fn log_warnings(&mut self) {
        self.warnings.log();
    }

    /// Returns all durable subscriptions.
    pub(super) fn durable(&self) -> Arc<[Incarnation]> {
        let all = self.slots.iter().flatten();
        all.filter(|entry| entry.subscription.durable)
            .filter_map(Entry::incarnation)
            .collect()
    }

    /// Returns the number of filters that the index can only try one by one.
    pub(super) fn scanned(&self) -> u64 {
        self.index.scanned() as u64
    }

    /// Returns the number of subscriptions of each status, in the order of [`Status::ALL`].
    pub(super) fn counts(&self) -> [u64; Status::ALL.len()] {
        self.counts
    }
}

fn number(slot: usize) -> Slot {
    Slot::try_from(slot).expect("fewer than 2^32 subscriptions")
}
