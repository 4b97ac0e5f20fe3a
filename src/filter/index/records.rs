//! The stored filters, each stored once however many keys it has.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hash};

use smallvec::SmallVec;

use super::super::weight::Weight;
use super::buckets::Spread;
use super::hash::Seeded;
use super::intervals::Interval;
use super::paths::ShapeId;
use super::slab::Slab;

/// The id of a stored filter.
pub(super) type RecordId = u32;

/// A stored filter.
#[derive(Clone, Debug)]
pub(super) struct Record<K> {
    /// The program to run on an event.
    pub(super) program: Box<[u8]>,
    /// The keys of the filter.
    pub(super) keys: Keys<K>,
    /// The entries through which an event finds it; none if nothing can match.
    pub(super) entries: BucketEntries,
    /// The digest of the program.
    pub(super) digest: u32,
    /// The bound of the program's cost.
    pub(super) weight: Weight,
}

/// The keys of a filter; mostly one.
#[derive(Clone, Debug)]
pub(super) enum Keys<K> {
    /// One key.
    One(K),
    /// Any number.
    Many(Vec<K>),
}

/// An entry of a filter in a bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct BucketEntry {
    pub(super) bucket: u32,
    /// The shape from which the bucket's key was made.
    pub(super) shape: ShapeId,
    /// The lower end of the demanded interval.
    pub(super) lo: u64,
    /// The upper end of the demanded interval.
    pub(super) hi: u64,
}

/// The entries of a filter, no two in one bucket; mostly one.
#[derive(Clone, Debug)]
pub(super) enum BucketEntries {
    /// One entry.
    One(BucketEntry),
    /// Any number.
    Many(Box<[BucketEntry]>),
}

/// The position of a key: its filter, and the index in that filter's list of keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyPosition {
    pub(super) record: RecordId,
    pub(super) position: u32,
}

/// The outcome of removing a key.
pub(super) enum Removed<K> {
    /// There was no such key.
    Nothing,
    /// The key is gone. Its filter has others.
    Key,
    /// The filter is gone with its last key.
    Filter(RecordId, Record<K>),
}

/// All filters, by id, by key and by content.
#[derive(Clone, Debug)]
pub(super) struct Records<K> {
    stored: Slab<Record<K>>,
    positions: HashMap<K, KeyPosition, Seeded>,
    by_digest: HashMap<u32, RecordId, BuildHasherDefault<Spread>>,
    /// The filters that are heavier than a plain one, by weight.
    heavy: BTreeSet<(Weight, RecordId)>,
}

impl BucketEntry {
    /// Returns the interval in the bucket.
    pub(super) fn interval(&self, id: RecordId) -> Interval {
        Interval {
            lo: self.lo,
            hi: self.hi,
            id,
        }
    }
}

impl BucketEntries {
    /// Returns the entries as a slice.
    pub(super) fn as_slice(&self) -> &[BucketEntry] {
        match self {
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Many(entries) => entries,
        }
    }
}

impl From<SmallVec<[BucketEntry; 2]>> for BucketEntries {
    fn from(entries: SmallVec<[BucketEntry; 2]>) -> Self {
        match entries.as_slice() {
            [only] => Self::One(*only),
            _ => Self::Many(entries.into_boxed_slice()),
        }
    }
}

impl<K> Keys<K> {
    /// Returns the keys as a slice.
    pub(super) fn as_slice(&self) -> &[K] {
        match self {
            Self::One(key) => std::slice::from_ref(key),
            Self::Many(keys) => keys,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [K] {
        match self {
            Self::One(key) => std::slice::from_mut(key),
            Self::Many(keys) => keys,
        }
    }
}

impl<K: Copy + Eq + Hash> Records<K> {
    /// Makes an empty set of filters.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            stored: Slab::new(),
            positions: HashMap::with_hasher(Seeded(seed)),
            by_digest: HashMap::default(),
            heavy: BTreeSet::new(),
        }
    }

    /// Reserves memory for `more` filters of one key each.
    pub(super) fn reserve(&mut self, more: usize) {
        self.stored.reserve(more);
        self.positions.reserve(more);
        self.by_digest.reserve(more);
    }

    /// Returns the number of keys.
    pub(super) fn len(&self) -> usize {
        self.positions.len()
    }

    /// Returns the number of stored filters.
    pub(super) fn stored(&self) -> usize {
        self.stored.len()
    }

    /// Iterates over the ids of all stored filters.
    pub(super) fn ids(&self) -> impl Iterator<Item = RecordId> + '_ {
        self.stored.ids()
    }

    /// Returns a weight that no filter exceeds.
    pub(super) fn heaviest(&self) -> Weight {
        let heaviest = self.heavy.last();
        heaviest.map_or(Weight::LIGHT, |(weight, _)| *weight)
    }

    /// Iterates over the filters of at least this weight.
    pub(super) fn heavy(&self, least: Weight) -> impl Iterator<Item = &Record<K>> {
        let known = self.heavy.range((least, 0)..).map(|(_, id)| *id);
        let known = known.filter(move |_| least > Weight::LIGHT);
        let all = self.ids().filter(move |_| least <= Weight::LIGHT);
        let records = known.chain(all).filter_map(|id| self.get(id));
        records.filter(move |record| record.weight >= least)
    }

    /// Returns a stored filter.
    pub(super) fn get(&self, id: RecordId) -> Option<&Record<K>> {
        self.stored.get(id)
    }

    /// Adds a new key to the stored filter with this program, if there is one.
    pub(super) fn join(&mut self, key: K, program: &[u8], digest: u32) -> bool {
        let Some(&id) = self.by_digest.get(&digest) else {
            return false;
        };
        let Some(record) = self.stored.get_mut(id) else {
            return false;
        };
        if *record.program != *program {
            return false;
        }
        match &mut record.keys {
            Keys::One(first) => record.keys = Keys::Many(vec![*first, key]),
            Keys::Many(keys) => keys.push(key),
        }
        let position = u32::try_from(record.keys.as_slice().len() - 1).unwrap_or(u32::MAX);
        let record = id;
        self.positions.insert(key, KeyPosition { record, position });
        true
    }

    /// Stores a filter under a new key.
    pub(super) fn add(&mut self, key: K, record: Record<K>) -> RecordId {
        let (digest, weight) = (record.digest, record.weight);
        let record = self.stored.insert(record);
        if weight > Weight::LIGHT {
            self.heavy.insert((weight, record));
        }
        self.positions.insert(
            key,
            KeyPosition {
                record,
                position: 0,
            },
        );
        self.by_digest.entry(digest).or_insert(record);
        record
    }

    /// Renames all keys. No two of the new ones may be the same.
    pub(super) fn rekey(&mut self, new: impl Fn(K) -> K) {
        for record in self.stored.iter_mut() {
            for key in record.keys.as_mut_slice() {
                *key = new(*key);
            }
        }
        let hasher = self.positions.hasher().clone();
        let positions = std::mem::replace(&mut self.positions, HashMap::with_hasher(hasher));
        self.positions.reserve(positions.len());
        let moved = positions.into_iter().map(|(key, at)| (new(key), at));
        self.positions.extend(moved);
    }

    /// Removes a key, and its filter if that was the last key.
    pub(super) fn remove(&mut self, key: K) -> Removed<K> {
        let Some(at) = self.positions.remove(&key) else {
            return Removed::Nothing;
        };
        if self.leave(at) {
            return Removed::Key;
        }
        match self.stored.remove(at.record) {
            Some(record) => {
                if record.weight > Weight::LIGHT {
                    self.heavy.remove(&(record.weight, at.record));
                }
                if self.by_digest.get(&record.digest) == Some(&at.record) {
                    self.by_digest.remove(&record.digest);
                }
                Removed::Filter(at.record, record)
            }
            None => Removed::Key,
        }
    }

    /// Removes a key from a filter's list. Returns whether others are left.
    fn leave(&mut self, at: KeyPosition) -> bool {
        let position = at.position as usize;
        let record = self.stored.get_mut(at.record);
        match record.map(|record| &mut record.keys) {
            Some(Keys::Many(keys)) if keys.len() > 1 => {
                keys.swap_remove(position);
                let moved = keys.get(position);
                if let Some(moved) = moved.and_then(|key| self.positions.get_mut(key)) {
                    moved.position = at.position;
                }
                true
            }
            _ => false,
        }
    }
}
