//! Replacing the whole table by another one, and the differences between the two.

use super::{Entry, Slot, Table, expiries::Expiries, number};

/// The changes that a reload made.
#[derive(Debug, Default)]
pub(in super::super) struct Difference {
    pub(in super::super) gone: Vec<(Slot, Entry)>,
    pub(in super::super) changed: Vec<Slot>,
    /// Ad-hoc subscriptions, which stay. Their filters are to be put back.
    pub(in super::super) adhoc: Vec<Slot>,
}

impl Table {
    /// Replaces the whole table. Subscriptions that stay keep their slots.
    pub(in super::super) fn replace_all(&mut self, new: Self) -> Difference {
        let mut old = std::mem::replace(self, new);
        self.warnings
            .continue_from(std::mem::take(&mut old.warnings));
        let mut difference = Difference::default();
        if old.slots.is_empty() {
            return difference;
        }
        self.renumber(&old);
        let (mut unmatchable, mut adhoc) = (Vec::new(), Vec::new());
        for (slot, was) in (0..).zip(old.slots) {
            let Some(was) = was else { continue };
            if was.adhoc {
                adhoc.push((slot, was));
                continue;
            }
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
        difference.adhoc = self.take_over_adhoc(adhoc);
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
}
