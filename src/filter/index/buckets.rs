//! Buckets of stored filters, by the digest of their demands.
//!
//! Most buckets hold one filter, and then its id alone. The others sort their filters by the interval that each demands
//! of one more path; a filter without one demands everything. Different demands with one digest share a bucket, which
//! costs a vain try and nothing else.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::intervals::{Interval, Intervals};
use super::slab::Slab;

/// The buckets under their keys.
#[derive(Clone, Debug)]
pub(super) struct Buckets {
    heads: HashMap<u32, Head, BuildHasherDefault<Spread>>,
    sets: Slab<Intervals>,
}

/// One filter's id, or, marked by the highest bit, the number of a set.
#[derive(Clone, Copy, Debug)]
struct Head(u32);

const SET: u32 = 1 << 31;

impl Buckets {
    /// Makes an empty set of buckets.
    pub(super) fn new() -> Self {
        Self {
            heads: HashMap::default(),
            sets: Slab::new(),
        }
    }

    /// Reserves memory for `more` buckets.
    pub(super) fn reserve(&mut self, more: usize) {
        self.heads.reserve(more);
    }

    /// Adds an entry to the bucket `key`. A filter has at most one entry in a bucket. `interval_of` returns the
    /// interval of the filter that was alone there.
    pub(super) fn insert(
        &mut self,
        key: u32,
        new: Interval,
        interval_of: impl FnOnce(u32) -> Option<Interval>,
    ) {
        match self.heads.get(&key).copied() {
            None if new.id & SET == 0 => drop(self.heads.insert(key, Head(new.id))),
            Some(Head(set)) if set & SET != 0 => {
                if let Some(set) = self.sets.get_mut(set & !SET) {
                    set.insert(new);
                }
            }
            head => {
                let mut set = Intervals::new();
                set.insert(new);
                if let Some(alone) = head.and_then(|Head(id)| interval_of(id)) {
                    set.insert(alone);
                }
                self.heads.insert(key, Head(self.sets.insert(set) | SET));
            }
        }
    }

    /// Removes an entry from the bucket `key`.
    pub(super) fn remove(&mut self, key: u32, old: Interval) {
        let Some(Head(head)) = self.heads.get(&key).copied() else {
            return;
        };
        if head & SET == 0 {
            self.heads.remove(&key);
            return;
        }
        let Some(set) = self.sets.get_mut(head & !SET) else {
            return;
        };
        set.remove(old);
        if let Some(only) = set.only() {
            self.sets.remove(head & !SET);
            self.heads.insert(key, Head(only.id));
        }
    }

    /// Hands every filter in the bucket `key` whose interval overlaps the span to `visit`.
    pub(super) fn visit(&self, key: u32, from: u64, to: u64, visit: &mut impl FnMut(u32)) {
        match self.heads.get(&key) {
            None => {}
            Some(Head(set)) if set & SET != 0 => {
                if let Some(set) = self.sets.get(set & !SET) {
                    set.overlapping(from, to, visit);
                }
            }
            Some(Head(id)) => visit(*id),
        }
    }

    /// Returns the number of filters in the bucket `key`.
    pub(super) fn size(&self, key: u32) -> usize {
        match self.heads.get(&key) {
            None => 0,
            Some(Head(set)) if set & SET != 0 => {
                self.sets.get(set & !SET).map_or(0, Intervals::len)
            }
            Some(_) => 1,
        }
    }

    /// Returns the number of buckets and of their sets, so that a test sees both forgotten.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.heads.len() + self.sets.len()
    }
}

/// A hasher of keys. They are digests already, so it only spreads them over the bits that a table uses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, key: u32) {
        self.0 = (self.0 ^ u64::from(key)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
