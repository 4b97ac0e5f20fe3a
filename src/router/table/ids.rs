//! Which slot the subscription of an id has.
//!
//! The ids themselves lie in the slots and nowhere else: there can be a million of them. The table
//! keeps a part of each one's hash beside the slot, so that it grows without asking for the ids.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::{HashTable, hash_table::Entry};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Slot;

/// Slots by the hash of their ids.
#[derive(Debug)]
pub(super) struct Ids {
    known: HashTable<Known>,
    /// Ids are chosen by users: nobody shall be able to choose such as share a place.
    seed: u64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    hash: u32,
    slot: Slot,
}

impl Default for Ids {
    fn default() -> Self {
        Self {
            known: HashTable::new(),
            seed: RandomState::new().hash_one(0),
        }
    }
}

impl Ids {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// The slot of an id; `is` tells whether a slot holds it.
    pub(super) fn find(&self, id: &str, is: impl Fn(Slot) -> bool) -> Option<Slot> {
        let hash = self.hash(id);
        let found = self
            .known
            .find(place(hash), |known| known.hash == hash && is(known.slot));
        found.map(|known| known.slot)
    }

    /// Notes the slot of an id that is not known yet.
    pub(super) fn insert(&mut self, id: &str, slot: Slot) {
        let hash = self.hash(id);
        let known = Known { hash, slot };
        self.known
            .insert_unique(place(hash), known, |known| place(known.hash));
    }

    /// Forgets the id of a slot.
    pub(super) fn remove(&mut self, id: &str, slot: Slot) {
        let hash = self.hash(id);
        let found = self.known.entry(
            place(hash),
            |known| known.slot == slot,
            |known| place(known.hash),
        );
        if let Entry::Occupied(known) = found {
            known.remove();
        }
    }

    /// Gives every slot another number.
    pub(super) fn renumber(&mut self, new: impl Fn(Slot) -> Slot) {
        for known in &mut self.known {
            known.slot = new(known.slot);
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

/// Spreads what is kept of a hash over the bits that the table looks at.
fn place(hash: u32) -> u64 {
    u64::from(hash)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(32)
}
