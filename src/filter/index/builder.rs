//! An index built in bulk, by two threads: one compiles filters, the other fills the large tables.
//!
//! The first needs little memory (paths, conditions, shapes), which stays in its core's caches. The second mostly waits
//! for memory.

use std::hash::{BuildHasher, Hash, RandomState};

use super::super::Filter;
use super::super::weight::Weight;
use super::FilterIndex;
use super::buckets::Buckets;
use super::lookup::Lookup;
use super::records::{BucketEntries, Keys, Record, Records};

/// The compiler of filters for one [`IndexBuilder`].
#[derive(Debug)]
pub(crate) struct FilterCompiler {
    lookup: Lookup,
}

/// A filter in the form in which an index stores it.
#[derive(Debug)]
pub(crate) struct CompiledFilter(Ready);

#[derive(Debug)]
enum Ready {
    Entered {
        program: Box<[u8]>,
        digest: u32,
        weight: Weight,
        entries: BucketEntries,
    },
    /// A filter whose entries depend on the others in the index.
    Later(Filter),
}

/// An index under construction.
#[derive(Debug)]
pub(crate) struct IndexBuilder<K> {
    records: Records<K>,
    buckets: Buckets,
    /// Filters that were compiled for nothing, mostly since an equal one was there already.
    surplus: Vec<(Box<[u8]>, BucketEntries)>,
    later: Vec<(K, Filter)>,
}

/// Begins an index: makes its builder, and the compiler of its filters.
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
    /// Compiles a filter for [`IndexBuilder::insert`].
    pub(crate) fn compile(&mut self, filter: Filter) -> CompiledFilter {
        let Some(entries) = self.lookup.choose_unless_crowded(filter.root()) else {
            return CompiledFilter(Ready::Later(filter));
        };
        let (program, digest) = self.lookup.compile(filter.root());
        CompiledFilter(Ready::Entered {
            program,
            digest,
            weight: filter.weight(),
            entries,
        })
    }
}

impl<K: Copy + Eq + Hash> IndexBuilder<K> {
    /// Adds a filter under a key that has none.
    pub(crate) fn insert(&mut self, key: K, compiled: CompiledFilter) {
        match compiled.0 {
            Ready::Later(filter) => self.later.push((key, filter)),
            Ready::Entered {
                program,
                digest,
                weight,
                entries,
            } => {
                if self.records.join(key, &program, digest) {
                    self.surplus.push((program, entries));
                    return;
                }
                let record = Record {
                    program,
                    keys: Keys::One(key),
                    entries,
                    digest,
                    weight,
                };
                super::enter(&mut self.records, &mut self.buckets, key, record);
            }
        }
    }

    /// Takes a filter that is not to be added after all.
    pub(crate) fn discard(&mut self, compiled: CompiledFilter) {
        if let Ready::Entered {
            program, entries, ..
        } = compiled.0
        {
            self.surplus.push((program, entries));
        }
    }

    /// Finishes the index. `compiler` must have compiled all of its filters, and no others.
    pub(crate) fn finish(self, compiler: FilterCompiler) -> FilterIndex<K> {
        let mut lookup = compiler.lookup;
        lookup.buckets = self.buckets;
        for (program, entries) in self.surplus {
            lookup.release_shapes(&entries);
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
