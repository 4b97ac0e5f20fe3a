//! The filters themselves, each kept once however many keys it stands under.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hash};

use smallvec::SmallVec;

use super::super::weight::Weight;
use super::buckets::Spread;
use super::hash::Seeded;
use super::intervals::Interval;
use super::paths::ShapeId;
use super::slab::Slab;

/// The number of a stored filter.
pub(super) type RecordId = u32;

/// A stored filter.
#[derive(Clone, Debug)]
pub(super) struct Record<K> {
    /// What to run on an event.
    pub(super) program: Box<[u8]>,
    /// Who asks.
    pub(super) keys: Keys<K>,
    /// Where an event finds it; nowhere if nothing can match.
    pub(super) places: Places,
    /// The program's digest.
    pub(super) digest: u32,
    /// The most that the program can cost.
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

/// An entry in a bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The bucket.
    pub(super) bucket: u32,
    /// What the bucket's key was made from.
    pub(super) shape: ShapeId,
    /// The interval that is demanded: its lower end,
    pub(super) lo: u64,
    /// and its upper end.
    pub(super) hi: u64,
}

/// The entries of a filter, no two in one bucket; mostly one.
#[derive(Clone, Debug)]
pub(super) enum Places {
    /// One entry.
    One(Place),
    /// Any number.
    Many(Box<[Place]>),
}

/// Where a key is: in which filter's list, and there at which position.
#[derive(Clone, Copy, Debug)]
pub(super) struct Home {
    pub(super) record: RecordId,
    pub(super) position: u32,
}

/// What is gone with a key.
pub(super) enum Removed<K> {
    /// There was no such key.
    Nothing,
    /// The key alone: its filter has others.
    Key,
    /// The filter too.
    Filter(RecordId, Record<K>),
}

/// All filters, by number, by key and by content.
#[derive(Clone, Debug)]
pub(super) struct Records<K> {
    stored: Slab<Record<K>>,
    homes: HashMap<K, Home, Seeded>,
    by_digest: HashMap<u32, RecordId, BuildHasherDefault<Spread>>,
    /// The filters that are heavier than a plain one, by weight.
    heavy: BTreeSet<(Weight, RecordId)>,
}

impl Place {
    /// The entry in the bucket.
    pub(super) fn interval(&self, id: RecordId) -> Interval {
        Interval {
            lo: self.lo,
            hi: self.hi,
            id,
        }
    }
}

impl Places {
    /// The entries.
    pub(super) fn as_slice(&self) -> &[Place] {
        match self {
            Self::One(place) => std::slice::from_ref(place),
            Self::Many(places) => places,
        }
    }
}

impl From<SmallVec<[Place; 2]>> for Places {
    fn from(places: SmallVec<[Place; 2]>) -> Self {
        match places.as_slice() {
            [only] => Self::One(*only),
            _ => Self::Many(places.into_boxed_slice()),
        }
    }
}

impl<K> Keys<K> {
    /// The keys.
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
    /// No filters.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            stored: Slab::new(),
            homes: HashMap::with_hasher(Seeded(seed)),
            by_digest: HashMap::default(),
            heavy: BTreeSet::new(),
        }
    }

    /// Makes room for `more` filters, each under one key.
    pub(super) fn reserve(&mut self, more: usize) {
        self.stored.reserve(more);
        self.homes.reserve(more);
        self.by_digest.reserve(more);
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.homes.len()
    }

    /// How many filters are stored.
    pub(super) fn stored(&self) -> usize {
        self.stored.len()
    }

    /// The numbers of all stored filters.
    pub(super) fn ids(&self) -> impl Iterator<Item = RecordId> + '_ {
        self.stored.ids()
    }

    /// No filter is heavier than this.
    pub(super) fn heaviest(&self) -> Weight {
        let heaviest = self.heavy.last();
        heaviest.map_or(Weight::LIGHT, |(weight, _)| *weight)
    }

    /// Every filter of at least this weight.
    pub(super) fn heavy(&self, least: Weight) -> impl Iterator<Item = &Record<K>> {
        let known = self.heavy.range((least, 0)..).map(|(_, id)| *id);
        let known = known.filter(move |_| least > Weight::LIGHT);
        let all = self.ids().filter(move |_| least <= Weight::LIGHT);
        let records = known.chain(all).filter_map(|id| self.get(id));
        records.filter(move |record| record.weight >= least)
    }

    /// A stored filter.
    pub(super) fn get(&self, id: RecordId) -> Option<&Record<K>> {
        self.stored.get(id)
    }

    /// Puts `key` to a stored filter with this program, if there is one. The key is new.
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
        self.homes.insert(key, Home { record, position });
        true
    }

    /// Stores a filter under one key. The key is new.
    pub(super) fn add(&mut self, key: K, record: Record<K>) -> RecordId {
        let (digest, weight) = (record.digest, record.weight);
        let record = self.stored.insert(record);
        if weight > Weight::LIGHT {
            self.heavy.insert((weight, record));
        }
        self.homes.insert(
            key,
            Home {
                record,
                position: 0,
            },
        );
        self.by_digest.entry(digest).or_insert(record);
        record
    }

    /// Puts every filter under other keys, no two of which are the same.
    pub(super) fn rekey(&mut self, new: impl Fn(K) -> K) {
        for record in self.stored.iter_mut() {
            for key in record.keys.as_mut_slice() {
                *key = new(*key);
            }
        }
        let hasher = self.homes.hasher().clone();
        let homes = std::mem::replace(&mut self.homes, HashMap::with_hasher(hasher));
        self.homes.reserve(homes.len());
        let moved = homes.into_iter().map(|(key, home)| (new(key), home));
        self.homes.extend(moved);
    }

    /// Takes a key away, and the filter too if that was its last key.
    pub(super) fn remove(&mut self, key: K) -> Removed<K> {
        let Some(home) = self.homes.remove(&key) else {
            return Removed::Nothing;
        };
        if self.leave(home) {
            return Removed::Key;
        }
        match self.stored.remove(home.record) {
            Some(record) => {
                if record.weight > Weight::LIGHT {
                    self.heavy.remove(&(record.weight, home.record));
                }
                if self.by_digest.get(&record.digest) == Some(&home.record) {
                    self.by_digest.remove(&record.digest);
                }
                Removed::Filter(home.record, record)
            }
            None => Removed::Key,
        }
    }

    /// Takes a key from a filter's list; whether others are left.
    fn leave(&mut self, home: Home) -> bool {
        let position = home.position as usize;
        let record = self.stored.get_mut(home.record);
        match record.map(|record| &mut record.keys) {
            Some(Keys::Many(keys)) if keys.len() > 1 => {
                keys.swap_remove(position);
                let moved = keys.get(position);
                if let Some(moved) = moved.and_then(|key| self.homes.get_mut(key)) {
                    moved.position = home.position;
                }
                true
            }
            _ => false,
        }
    }
}
