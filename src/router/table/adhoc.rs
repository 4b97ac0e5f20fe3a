//! Ad-hoc subscriptions: filters that clients bring, without a document in the database.
//!
//! One has a slot like any other, and its id is not known: nobody finds it but the channels that it was made for.
//! Equal ones share a slot. It goes with its last channel.

use std::collections::HashMap;

use super::{Entry, Slot, Table, number};
use crate::{
    filter::Filter,
    subscription::{CompiledSubscription, Subscription},
};

/// The slots of ad-hoc subscriptions, by what they consist of.
#[derive(Default, Debug)]
pub(super) struct AdHoc(HashMap<Box<[u8]>, Slot>);

impl Table {
    /// Returns the slot of an ad-hoc subscription, whose filter is narrowed by its policy: that of an equal one, or
    /// a new one.
    pub(in super::super) fn adhoc(
        &mut self,
        subscription: Subscription,
        narrow: impl FnOnce(&mut Entry) -> Option<Filter>,
    ) -> Slot {
        let bytes: Box<[u8]> = subscription.document.as_bytes().into();
        if let Some(slot) = self.adhoc.0.get(&bytes) {
            return *slot;
        }
        let mut entry = Entry::adhoc(subscription);
        let filter = narrow(&mut entry);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            number(self.slots.len() - 1)
        });
        self.adhoc.0.insert(bytes, slot);
        self.slots[slot as usize] = Some(entry);
        self.enter(slot, filter);
        slot
    }

    /// Removes an ad-hoc subscription that has no channel any more; false if the slot is another one's.
    pub(in super::super) fn remove_adhoc(&mut self, slot: Slot) -> bool {
        if !self.is_adhoc(slot) {
            return false;
        }
        if let Some(old) = self.forget(slot) {
            self.adhoc.0.remove(old.subscription.document.as_bytes());
            self.free.push(slot);
        }
        true
    }

    /// Whether a slot is that of an ad-hoc subscription.
    pub(in super::super) fn is_adhoc(&self, slot: Slot) -> bool {
        self.get(slot).is_some_and(|entry| entry.adhoc)
    }

    /// Takes over the ad-hoc subscriptions of a table that this one replaces. Their slots are free here. Their
    /// filters are left to the caller.
    pub(super) fn take_over_adhoc(&mut self, kept: Vec<(Slot, Entry)>) -> Vec<Slot> {
        let mut slots = Vec::with_capacity(kept.len());
        for (slot, entry) in kept {
            while self.slots.len() <= slot as usize {
                self.free.push(number(self.slots.len()));
                self.slots.push(None);
            }
            let bytes = entry.subscription.document.as_bytes().into();
            self.adhoc.0.insert(bytes, slot);
            self.slots[slot as usize] = Some(entry);
            slots.push(slot);
        }
        let adhoc: std::collections::HashSet<Slot> = slots.iter().copied().collect();
        self.free.retain(|slot| !adhoc.contains(slot));
        slots
    }

    /// Puts the filter of an ad-hoc subscription back, compiled anew.
    pub(in super::super) fn restore(&mut self, slot: Slot, compiled: CompiledSubscription) {
        if self.is_adhoc(slot) {
            self.narrow(slot, compiled);
        }
    }
}
