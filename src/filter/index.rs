//! An index of many filters: it finds those that match a document.
//!
//! ```text
//!              demand     choice        lookup
//! Filter ──▶ conjunctions ──▶ shape ──▶ buckets of stored filters
//!    └─ program: the filter in a few dozen bytes, stored once ─┘ ▲ candidates
//!                                                                │
//! document ── event: one walk ──▶ values at paths ── search: one try a shape
//! ```
//!
//! A filter is read as a list of conjunctions, and a matching event meets one of them. For each conjunction the
//! index picks the demands that distinguish it best: equalities (and short `$in`s and prefixes) on up to four
//! paths, combined into one digest, and one range. The paths and kinds of these demands are its *shape*. Their
//! values choose its entry: a bucket under the digest, and an interval in it. An event is walked once, for all
//! paths that any filter asks for. It tries every shape whose paths it has, and runs the programs of the filters
//! that it finds. Everything is found by digest or by tree, so the cost of an event follows from its matches and
//! the number of shapes, not from the number of filters. Filters without demands that could be looked up are tried
//! on every event; [`FilterIndex::scanned`] counts them.
//!
//! After the "multi-attribute hashing" of F. Fabret et al., "Filtering Algorithms and
//! Implementation for Very Fast Publish/Subscribe Systems", SIGMOD 2001.

mod alone;
mod buckets;
mod builder;
mod choice;
mod demand;
mod event;
mod hash;
mod intervals;
mod key;
mod literal;
mod lookup;
mod opaque;
mod paths;
mod program;
mod records;
mod rounds;
mod run;
mod search;
mod shapes;
mod slab;
#[cfg(test)]
mod tests;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bson::RawDocument;
use smallvec::SmallVec;

pub(crate) use self::alone::Alone;
use self::buckets::Buckets;
pub(crate) use self::builder::{CompiledFilter, FilterCompiler, IndexBuilder, index_builder};
use self::event::Event;
use self::lookup::Lookup;
use self::records::{Keys, Record, RecordId, Records, Removed};
pub use self::rounds::Effort;
use self::rounds::Rounds;
use self::run::{Plain, Run};
use self::search::Search;
use super::Filter;
use super::cost::{Budgets, Steps};
use super::weight::Weight;

/// Many filters under keys, matched together.
#[derive(Clone, Debug)]
pub struct FilterIndex<K> {
    records: Records<K>,
    lookup: Lookup,
}

impl<K: Copy + Eq + Hash> FilterIndex<K> {
    /// Makes an empty index.
    pub fn new() -> Self {
        let seed = RandomState::new().hash_one(0);
        Self {
            records: Records::new(seed),
            lookup: Lookup::new(seed),
        }
    }

    /// Adds a filter, in place of the one under `key`. Returns whether there was one.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the index is the filter's new home"
    )]
    pub fn insert(&mut self, key: K, filter: Filter) -> bool {
        let replaced = self.remove(key);
        let root = filter.root();
        let (program, digest) = self.lookup.compile(root);
        if self.records.join(key, &program, digest) {
            self.lookup.release(&program);
            return replaced;
        }
        let entries = self.lookup.choose(root);
        let keys = Keys::One(key);
        let record = Record {
            program,
            keys,
            entries,
            digest,
            weight: filter.weight(),
        };
        enter(&mut self.records, &mut self.lookup.buckets, key, record);
        replaced
    }

    /// Removes the filter under `key`. Returns whether there was one.
    pub fn remove(&mut self, key: K) -> bool {
        match self.records.remove(key) {
            Removed::Nothing => return false,
            Removed::Key => {}
            Removed::Filter(id, record) => {
                self.lookup.leave(&record.entries, id);
                self.lookup.release(&record.program);
            }
        }
        true
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of different filters that are tried on every event, since they demand nothing that could be
    /// looked up, such as `{a: {$ne: 1}}`.
    pub fn scanned(&self) -> usize {
        self.lookup.scanned()
    }

    /// Reserves memory for more filters.
    pub fn reserve(&mut self, more: usize) {
        self.records.reserve(more);
        self.lookup.buckets.reserve(more);
    }

    /// Renames all keys. No two of the new ones may be the same.
    pub(crate) fn rekey(&mut self, new: impl Fn(K) -> K) {
        self.records.rekey(new);
    }

    /// Appends the key of every filter that matches `document`, each once, in no particular order. Filters that are too
    /// expensive do not match.
    pub fn matching(&self, document: &RawDocument, keys: &mut Vec<K>) {
        self.matching_within(document, keys, &mut Vec::new());
    }

    /// Appends the key of every filter that matches `document`, and to `too_expensive` the key of every filter that is
    /// too expensive for it.
    ///
    /// A filter is too expensive if it takes more than the default [`Steps`](super::Steps); a lone [`Filter`] says
    /// the same of it. No event takes for ever, whatever the filters are: each filter may first take 500,000 steps,
    /// or its share of 250,000,000 if that is less. Filters that need more are deferred until all others are done,
    /// and go on from the lightest to the heaviest until all have taken 500,000,000 steps together. Those that are
    /// left then are [undecided](Effort::undecided).
    pub fn matching_within(
        &self,
        document: &RawDocument,
        found: &mut Vec<K>,
        too_expensive: &mut Vec<K>,
    ) -> Effort<K> {
        self.matching_for(document, Budgets::default(), found, too_expensive)
    }

    /// Tries every filter alone, and returns the keys of those that panic on `document`. For use after
    /// [`FilterIndex::matching_within`] has panicked: if it names none, no filter was the cause.
    pub fn panicking(&self, document: &RawDocument) -> Vec<K> {
        let run = Run {
            event: Plain(document.as_bytes()),
            paths: &self.lookup.paths,
            opaques: &self.lookup.opaques,
        };
        let panics = |record: &&Record<K>| {
            let mut steps = Steps::new(Budgets::default().first_steps);
            let trying = AssertUnwindSafe(|| run.counted(&record.program, &mut steps).is_ok());
            catch_unwind(trying).is_err()
        };
        let records = self.records.ids().filter_map(|id| self.records.get(id));
        let culprits = records.filter(panics).map(|record| record.keys.as_slice());
        culprits.flatten().copied().collect()
    }

    fn matching_for(
        &self,
        document: &RawDocument,
        budgets: Budgets,
        found: &mut Vec<K>,
        too_expensive: &mut Vec<K>,
    ) -> Effort<K> {
        let bytes = document.as_bytes();
        let event = Event::new(&self.lookup.paths, bytes, budgets.visits(bytes.len()));
        let run = Run {
            event: &event,
            paths: &self.lookup.paths,
            opaques: &self.lookup.opaques,
        };
        let mut taken = 0;
        let mut candidates = self.candidates(&run, &budgets, &mut taken);
        let most = self.records.heaviest().most_steps(bytes.len());
        let together = most.saturating_mul(candidates.len() as u64);
        if most <= budgets.first_steps && together.saturating_add(taken) <= budgets.uncounted() {
            for record in candidates {
                if run.holds(&record.program) {
                    found.extend_from_slice(record.keys.as_slice());
                }
            }
            return Effort::default();
        }
        let others = self.others(&mut candidates, Weight::above(budgets.most, bytes.len()));
        let mut rounds = Rounds::new(&run, budgets, taken, found, too_expensive);
        rounds.expect(candidates.len() + others.len());
        for record in candidates {
            rounds.candidate(record);
        }
        for record in others {
            rounds.other(record);
        }
        rounds.finish()
    }

    /// Returns the filters of at least this weight that are not among the candidates. It sorts the candidates.
    fn others(&self, candidates: &mut [&Record<K>], least: Weight) -> Vec<&Record<K>> {
        let address = |record: &&Record<K>| std::ptr::from_ref(*record);
        candidates.sort_unstable_by_key(address);
        let is_new = |record: &&Record<K>| {
            let found = candidates.binary_search_by_key(&address(record), address);
            found.is_err()
        };
        self.records.heavy(least).filter(is_new).collect()
    }

    /// Returns every stored filter that could match, each once. If the event's arrays are too large for look-ups,
    /// these are all filters that a short try does not exclude. The steps of these tries are added to `taken`.
    fn candidates(
        &self,
        run: &Run<'_, &Event<'_>>,
        budgets: &Budgets,
        taken: &mut u64,
    ) -> SmallVec<[&Record<K>; 32]> {
        let event = run.event;
        let mut ids: SmallVec<[RecordId; 32]> = SmallVec::new();
        let found = |id| ids.push(id);
        let stored = self.records.stored();
        let looks = budgets.looks(event.document().len());
        if !event.is_surveyed() || !Search::run(&self.lookup, event, stored, looks, found) {
            let could_match = |id: &RecordId| {
                let Some(record) = self.records.get(*id) else {
                    return false;
                };
                let left = budgets.uncounted().saturating_sub(*taken);
                let mut steps = Steps::new(budgets.glance.min(left));
                let holds = run.counted(&record.program, &mut steps);
                *taken += steps.spent();
                holds != Ok(false)
            };
            ids = self.records.ids().filter(could_match).collect();
        }
        // Several values, several entries or two buckets of one key may find a filter twice.
        ids.sort_unstable();
        ids.dedup();
        self.fetch(&ids)
    }

    /// Fetches the filters into the processor's caches. They lie all over the memory: fetched together they take hardly
    /// longer than one of them, while one by one each would be waited for.
    fn fetch(&self, ids: &[RecordId]) -> SmallVec<[&Record<K>; 32]> {
        let records = ids.iter().filter_map(|id| self.records.get(*id));
        let records: SmallVec<[&Record<K>; 32]> = records.collect();
        let first_bytes = records.iter().filter_map(|record| record.program.first());
        black_box(first_bytes.fold(0, |all, byte| all ^ byte));
        records
    }
}

/// Stores a filter under a key, and adds its entries to the buckets.
fn enter<K: Copy + Eq + Hash>(
    records: &mut Records<K>,
    buckets: &mut Buckets,
    key: K,
    record: Record<K>,
) {
    let id = records.add(key, record);
    let entries = |id| {
        let record = records.get(id);
        record.map_or(&[][..], |record| record.entries.as_slice())
    };
    for entry in entries(id) {
        let bucket = entry.bucket;
        buckets.insert(bucket, entry.interval(id), |other| {
            let entry = entries(other).iter().find(|entry| entry.bucket == bucket)?;
            Some(entry.interval(other))
        });
    }
}

impl<K: Copy + Eq + Hash> Default for FilterIndex<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Copy + Eq + Hash> Extend<(K, Filter)> for FilterIndex<K> {
    /// Adds filters; of several under one key the last stands.
    fn extend<I: IntoIterator<Item = (K, Filter)>>(&mut self, filters: I) {
        let filters = filters.into_iter();
        self.reserve(filters.size_hint().0);
        for (key, filter) in filters {
            self.insert(key, filter);
        }
    }
}

impl<K: Copy + Eq + Hash> FromIterator<(K, Filter)> for FilterIndex<K> {
    /// Builds an index of many filters at once. Of several under one key the last stands.
    fn from_iter<I: IntoIterator<Item = (K, Filter)>>(filters: I) -> Self {
        let mut index = Self::new();
        index.extend(filters);
        index
    }
}
