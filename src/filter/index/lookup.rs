//! Everything by which events find stored filters.

use smallvec::{SmallVec, smallvec};

use super::super::ast::Node;
use super::buckets::Buckets;
use super::choice::{Choice, Digests};
use super::demand::{Analysis, Conjunction};
use super::key;
use super::opaque::Opaques;
use super::paths::{PathId, Paths, ShapeId};
use super::program::{self, Writer};
use super::records::{Place, Places, RecordId};
use super::shapes::{EVERYWHERE, Shapes};

/// The ways to stored filters.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    pub(super) paths: Paths,
    pub(super) opaques: Opaques,
    pub(super) shapes: Shapes,
    pub(super) buckets: Buckets,
    /// What digests are taken under, so that nobody can choose values that share one.
    pub(super) seed: u64,
    /// Where programs are written before they get as much room as they need.
    scratch: Vec<u8>,
}

impl Lookup {
    /// No ways.
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

    /// Compiles a filter. What the program refers to is in use until [`release`](Self::release).
    pub(super) fn compile(&mut self, root: &Node) -> (Box<[u8]>, u32) {
        self.scratch.clear();
        let writer = Writer {
            paths: &mut self.paths,
            opaques: &mut self.opaques,
            out: &mut self.scratch,
        };
        let program = writer.program(root);
        let digest = short(key::bytes_digest(&program, self.seed));
        (program, digest)
    }

    /// Ends the use of what a program refers to.
    pub(super) fn release(&mut self, program: &[u8]) {
        program::release(program, &mut self.paths, &mut self.opaques);
    }

    /// Chooses where a filter is to be found. The shapes of the places are in use until the
    /// places are left.
    pub(super) fn choose(&mut self, root: &Node) -> Places {
        let fall_back = |lookup: &Self, conjunction: &Conjunction<'_>, paths: &[PathId]| {
            let alone = Choice::alone(conjunction, paths, lookup.seed).into_iter();
            alone.min_by_key(|choice| lookup.load(choice))
        };
        let places = self.choose_or(root, fall_back);
        places.unwrap_or_else(|| SmallVec::new().into())
    }

    /// The same, unless there are too many shapes: what to do then depends on what is in the buckets.
    pub(super) fn choose_unless_crowded(&mut self, root: &Node) -> Option<Places> {
        self.choose_or(root, |_, _, _| None)
    }

    fn choose_or(
        &mut self,
        root: &Node,
        crowded: impl Fn(&Self, &Conjunction<'_>, &[PathId]) -> Option<Choice>,
    ) -> Option<Places> {
        let analysis = Analysis { seed: self.seed };
        let mut places = SmallVec::new();
        for conjunction in analysis.conjunctions(root) {
            if !self.place(&conjunction, &crowded, &mut places) {
                for place in places {
                    self.shapes.release(place.shape, &mut self.paths);
                }
                return None;
            }
        }
        self.merge(&mut places);
        Some(places.into())
    }

    /// Takes a filter from its places.
    pub(super) fn leave(&mut self, places: &Places, id: RecordId) {
        for place in places.as_slice() {
            self.buckets.remove(place.bucket, place.interval(id));
        }
        self.unplace(places);
    }

    /// Ends the use of the shapes of places.
    pub(super) fn unplace(&mut self, places: &Places) {
        for place in places.as_slice() {
            self.shapes.release(place.shape, &mut self.paths);
        }
    }

    /// How many filters are to be found by no demand at all.
    pub(super) fn scanned(&self) -> usize {
        self.buckets.size(short(self.start(EVERYWHERE)))
    }

    /// The key of a bucket before any digest has gone into it.
    pub(super) fn start(&self, shape: ShapeId) -> u64 {
        key::mix(self.seed, u64::from(shape))
    }

    /// Adds the places of one conjunction, by the best choice, or by another where there are too
    /// many shapes for that. False if there is no other.
    fn place(
        &mut self,
        conjunction: &Conjunction<'_>,
        crowded: impl Fn(&Self, &Conjunction<'_>, &[PathId]) -> Option<Choice>,
        places: &mut SmallVec<[Place; 2]>,
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
            self.add_places(choice, places);
        }
        for path in paths {
            self.paths.release(path);
        }
        choice.is_some()
    }

    fn add_places(&mut self, choice: &Choice, places: &mut SmallVec<[Place; 2]>) {
        let (lo, hi) = (choice.lo, choice.hi);
        let shape = self.shapes.acquire(&choice.shape, &mut self.paths);
        for bucket in self.keys(shape, &choice.digests) {
            self.shapes.retain(shape);
            places.push(Place {
                bucket,
                shape,
                lo,
                hi,
            });
        }
        // An empty list of values leaves no bucket, and then the shape is not in use.
        self.shapes.release(shape, &mut self.paths);
    }

    fn load(&self, choice: &Choice) -> usize {
        self.shapes.find(&choice.shape).map_or(0, |shape| {
            let keys = self.keys(shape, &choice.digests).into_iter();
            keys.map(|key| self.buckets.size(key)).sum()
        })
    }

    /// The buckets of a choice: one for each way to take a digest from every list.
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

    /// Leaves one place in each bucket.
    fn merge(&mut self, places: &mut SmallVec<[Place; 2]>) {
        places.sort_unstable_by_key(|place| place.bucket);
        places.dedup_by(|place, kept| {
            let same = place.bucket == kept.bucket;
            if same {
                kept.lo = kept.lo.min(place.lo);
                kept.hi = kept.hi.max(place.hi);
                self.shapes.release(place.shape, &mut self.paths);
            }
            same
        });
    }
}

/// The part of a digest that is kept.
pub(super) fn short(digest: u64) -> u32 {
    (digest >> 32) as u32
}
