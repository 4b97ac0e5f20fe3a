//! The structures through which events find stored filters.

use smallvec::{SmallVec, smallvec};

use super::super::ast::Node;
use super::buckets::Buckets;
use super::choice::{Choice, Digests};
use super::demand::{Analysis, Conjunction};
use super::key;
use super::opaque::Opaques;
use super::paths::{PathId, Paths, ShapeId};
use super::program::{self, ProgramWriter};
use super::records::{BucketEntries, BucketEntry, RecordId};
use super::shapes::{EVERYWHERE, Shapes};

/// The paths, conditions, shapes and buckets of all filters.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    pub(super) paths: Paths,
    pub(super) opaques: Opaques,
    pub(super) shapes: Shapes,
    pub(super) buckets: Buckets,
    /// The seed of digests, so that nobody can choose values that share one.
    pub(super) seed: u64,
    /// A buffer for programs until their length is known.
    scratch: Vec<u8>,
}

impl Lookup {
    /// Makes an empty look-up.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            paths: Paths::new(),
            opaques: Opaques::new(),
            shapes: Shapes::new(seed),
            buckets: Buckets::new(),
            seed,
            scratch: Vec::new(),
        }
    }

    /// Compiles a filter. The paths and conditions of the program are in use until [`release`](Self::release).
    pub(super) fn compile(&mut self, root: &Node) -> (Box<[u8]>, u32) {
        self.scratch.clear();
        let writer = ProgramWriter {
            paths: &mut self.paths,
            opaques: &mut self.opaques,
            out: &mut self.scratch,
        };
        let program = writer.program(root);
        let digest = short(key::bytes_digest(&program, self.seed));
        (program, digest)
    }

    /// Ends the use of a program's paths and conditions.
    pub(super) fn release(&mut self, program: &[u8]) {
        program::release(program, &mut self.paths, &mut self.opaques);
    }

    /// Chooses the entries of a filter. Their shapes are in use until [`leave`](Self::leave) or
    /// [`release_shapes`](Self::release_shapes).
    pub(super) fn choose(&mut self, root: &Node) -> BucketEntries {
        let fall_back = |lookup: &Self, conjunction: &Conjunction<'_>, paths: &[PathId]| {
            let alone = Choice::alone(conjunction, paths, lookup.seed).into_iter();
            alone.min_by_key(|choice| lookup.load(choice))
        };
        let entries = self.choose_or(root, fall_back);
        entries.unwrap_or_else(|| SmallVec::new().into())
    }

    /// Chooses the entries of a filter, unless there are too many shapes: then the choice depends on the contents
    /// of the buckets.
    pub(super) fn choose_unless_crowded(&mut self, root: &Node) -> Option<BucketEntries> {
        self.choose_or(root, |_, _, _| None)
    }

    fn choose_or(
        &mut self,
        root: &Node,
        crowded: impl Fn(&Self, &Conjunction<'_>, &[PathId]) -> Option<Choice>,
    ) -> Option<BucketEntries> {
        let analysis = Analysis { seed: self.seed };
        let mut entries = SmallVec::new();
        for conjunction in analysis.conjunctions(root) {
            if !self.enter(&conjunction, &crowded, &mut entries) {
                for entry in entries {
                    self.shapes.release(entry.shape, &mut self.paths);
                }
                return None;
            }
        }
        self.merge(&mut entries);
        Some(entries.into())
    }

    /// Removes the entries of a filter from their buckets.
    pub(super) fn leave(&mut self, entries: &BucketEntries, id: RecordId) {
        for entry in entries.as_slice() {
            self.buckets.remove(entry.bucket, entry.interval(id));
        }
        self.release_shapes(entries);
    }

    /// Ends the use of the entries' shapes.
    pub(super) fn release_shapes(&mut self, entries: &BucketEntries) {
        for entry in entries.as_slice() {
            self.shapes.release(entry.shape, &mut self.paths);
        }
    }

    /// Returns the number of filters without any demand.
    pub(super) fn scanned(&self) -> usize {
        self.buckets.size(short(self.start(EVERYWHERE)))
    }

    /// Returns the key of a bucket before any digest is mixed in.
    pub(super) fn start(&self, shape: ShapeId) -> u64 {
        key::mix(self.seed, u64::from(shape))
    }

    /// Adds the entries of one conjunction, by the best choice or, if there are too many shapes for that, by `crowded`.
    /// Returns false if that has none.
    fn enter(
        &mut self,
        conjunction: &Conjunction<'_>,
        crowded: impl Fn(&Self, &Conjunction<'_>, &[PathId]) -> Option<Choice>,
        entries: &mut SmallVec<[BucketEntry; 2]>,
    ) -> bool {
        let routes = conjunction.iter().map(|demand| demand.path.as_str());
        let paths: SmallVec<[_; 8]> = routes.map(|path| self.paths.acquire(path)).collect();
        let best = Choice::best(conjunction, &paths, self.seed);
        let choice = if self.shapes.admits(&best.shape, &self.paths) {
            Some(best)
        } else {
            crowded(self, conjunction, &paths)
        };
        if let Some(choice) = &choice {
            self.add_entries(choice, entries);
        }
        for path in paths {
            self.paths.release(path);
        }
        choice.is_some()
    }

    fn add_entries(&mut self, choice: &Choice, entries: &mut SmallVec<[BucketEntry; 2]>) {
        let (lo, hi) = (choice.lo, choice.hi);
        let shape = self.shapes.acquire(&choice.shape, &mut self.paths);
        for bucket in self.keys(shape, &choice.digests) {
            self.shapes.retain(shape);
            entries.push(BucketEntry {
                bucket,
                shape,
                lo,
                hi,
            });
        }
        // An empty list of values has no bucket, and then the shape is not in use.
        self.shapes.release(shape, &mut self.paths);
    }

    fn load(&self, choice: &Choice) -> usize {
        self.shapes.find(&choice.shape).map_or(0, |shape| {
            let keys = self.keys(shape, &choice.digests).into_iter();
            keys.map(|key| self.buckets.size(key)).sum()
        })
    }

    /// Returns the buckets of a choice: one for each combination of a digest from every list.
    fn keys(&self, shape: ShapeId, digests: &[Digests]) -> SmallVec<[u32; 1]> {
        let mut states: SmallVec<[u64; 1]> = smallvec![self.start(shape)];
        for list in digests {
            if let [digest] = list.as_slice() {
                for state in &mut states {
                    *state = key::mix(*state, *digest);
                }
            } else {
                let all = |state: &u64| {
                    list.iter()
                        .map(|digest| key::mix(*state, *digest))
                        .collect::<Digests>()
                };
                states = states.iter().flat_map(all).collect();
            }
        }
        states.into_iter().map(short).collect()
    }

    /// Merges entries until there is one in each bucket.
    fn merge(&mut self, entries: &mut SmallVec<[BucketEntry; 2]>) {
        entries.sort_unstable_by_key(|entry| entry.bucket);
        entries.dedup_by(|entry, kept| {
            let same = entry.bucket == kept.bucket;
            if same {
                kept.lo = kept.lo.min(entry.lo);
                kept.hi = kept.hi.max(entry.hi);
                self.shapes.release(entry.shape, &mut self.paths);
            }
            same
        });
    }
}

/// Returns the part of a digest that is stored.
pub(super) fn short(digest: u64) -> u32 {
    (digest >> 32) as u32
}
