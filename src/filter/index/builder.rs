//! An index built by two threads: one reads filters, the other fills the large tables.
//!
//! What the first needs (paths, conditions, shapes) is small and stays in its core's caches; the
//! second mostly waits for memory.

use std::hash::{BuildHasher, Hash, RandomState};

use super::super::Filter;
use super::super::weight::Weight;
use super::FilterIndex;
use super::buckets::Buckets;
use super::lookup::Lookup;
use super::records::{Keys, Places, Record, Records};

/// The part that reads filters.
#[derive(Debug)]
pub(crate) struct FilterCompiler {
    lookup: Lookup,
}

/// A filter ready to be put where events find it.
#[derive(Debug)]
pub(crate) struct CompiledFilter(Ready);

#[derive(Debug)]
enum Ready {
    Placed {
        program: Box<[u8]>,
        digest: u32,
        weight: Weight,
        places: Places,
    },
    /// Where it belongs depends on what is there.
    Later(Filter),
}

/// The part that fills the tables.
#[derive(Debug)]
pub(crate) struct IndexBuilder<K> {
    records: Records<K>,
    buckets: Buckets,
    /// CompiledFilter for nothing: most often, because the same filter was there already.
    surplus: Vec<(Box<[u8]>, Places)>,
    later: Vec<(K, Filter)>,
}

/// The two parts of an empty index.
pub(crate) fn index_builder<K: Copy + Eq + Hash>() -> (FilterCompiler, IndexBuilder<K>) {
    let seed = RandomState::new().hash_one(0);
    let lookup = Lookup::new(seed);
    let builder = IndexBuilder {
        records: Records::new(seed),
        buckets: Buckets::new(),
        surplus: Vec::new(),
        later: Vec::new(),
    };
    (FilterCompiler { lookup }, builder)
}

impl FilterCompiler {
    /// Reads a filter for [`IndexBuilder::insert`].
    pub(crate) fn compile(&mut self, filter: Filter) -> CompiledFilter {
        let Some(places) = self.lookup.choose_unless_crowded(filter.root()) else {
            return CompiledFilter(Ready::Later(filter));
        };
        let (program, digest) = self.lookup.compile(filter.root());
        CompiledFilter(Ready::Placed {
            program,
            digest,
            weight: filter.weight(),
            places,
        })
    }
}

impl<K: Copy + Eq + Hash> IndexBuilder<K> {
    /// Adds a filter under a key that has none.
    pub(crate) fn insert(&mut self, key: K, compiled: CompiledFilter) {
        match compiled.0 {
            Ready::Later(filter) => self.later.push((key, filter)),
            Ready::Placed {
                program,
                digest,
                weight,
                places,
            } => {
                if self.records.join(key, &program, digest) {
                    self.surplus.push((program, places));
                    return;
                }
                let record = Record {
                    program,
                    keys: Keys::One(key),
                    places,
                    digest,
                    weight,
                };
                super::enter(&mut self.records, &mut self.buckets, key, record);
            }
        }
    }

    /// Takes back a filter that is not to be added after all.
    pub(crate) fn discard(&mut self, compiled: CompiledFilter) {
        if let Ready::Placed {
            program, places, ..
        } = compiled.0
        {
            self.surplus.push((program, places));
        }
    }

    /// The whole index. `compiler` must have compiled every filter of it, and no other.
    pub(crate) fn finish(self, compiler: FilterCompiler) -> FilterIndex<K> {
        let mut lookup = compiler.lookup;
        lookup.buckets = self.buckets;
        for (program, places) in self.surplus {
            lookup.unplace(&places);
            lookup.release(&program);
        }
        let mut index = FilterIndex {
            records: self.records,
            lookup,
        };
        index.extend(self.later);
        index
    }
}
