//! The slots of subscriptions by id.
//!
//! The ids themselves lie in the slots and nowhere else: there can be a million of them. A part of each id's hash
//! lies beside its slot here, so that the table can grow without reading the ids.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::{HashTable, hash_table::Entry};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Slot;

/// Slots by the hash of their ids.
#[derive(Debug)]
pub(super) struct Ids {
    entries: HashTable<IdEntry>,
    /// Random: ids are user-chosen and must not collide on purpose.
    seed: u64,
}

#[derive(Clone, Copy, Debug)]
struct IdEntry {
    hash: u32,
    slot: Slot,
}

impl Default for Ids {
    fn default() -> Self {
        Self {
            entries: HashTable::new(),
            seed: RandomState::new().hash_one(0),
        }
    }
}

impl Ids {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the slot of an id. `is` tells whether a slot holds it.
    pub(super) fn find(&self, id: &str, is: impl Fn(Slot) -> bool) -> Option<Slot> {
        let hash = self.hash(id);
        let found = self
            .entries
            .find(spread(hash), |entry| entry.hash == hash && is(entry.slot));
        found.map(|entry| entry.slot)
    }

    /// Adds the slot of an id that is not known yet.
    pub(super) fn insert(&mut self, id: &str, slot: Slot) {
        let hash = self.hash(id);
        let entry = IdEntry { hash, slot };
        self.entries
            .insert_unique(spread(hash), entry, |entry| spread(entry.hash));
    }

    /// Removes the id of a slot.
    pub(super) fn remove(&mut self, id: &str, slot: Slot) {
        let hash = self.hash(id);
        let found = self.entries.entry(
            spread(hash),
            |entry| entry.slot == slot,
            |entry| spread(entry.hash),
        );
        if let Entry::Occupied(entry) = found {
            entry.remove();
        }
    }

    /// Gives every slot another number.
    pub(super) fn renumber(&mut self, new: impl Fn(Slot) -> Slot) {
        for entry in &mut self.entries {
            entry.slot = new(entry.slot);
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a part of a hash is one too"
    )]
    fn hash(&self, id: &str) -> u32 {
        xxh3_64_with_seed(id.as_bytes(), self.seed) as u32
    }
}

/// Spreads a partial hash over the bits that the table uses.
fn spread(hash: u32) -> u64 {
    u64::from(hash)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(32)
}
