//! Everything by which events find stored filters.

use smallvec::{SmallVec, smallvec};

use super::super::ast::Node;
use super::buckets::Buckets;
use super::choice::{Choice, Digests};
use super::demand::{Analysis, Conjunction};
use super::intervals::Interval;
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
}

impl Lookup {
    /// No ways.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            paths: Paths::new(),
            opaques: Opaques::new(),
            shapes: Shapes::new(),
            buckets: Buckets::new(),
            seed,
        }
    }

    /// Compiles a filter. What the program refers to is in use until [`release`](Self::release).
    pub(super) fn compile(&mut self, root: &Node) -> (Box<[u8]>, u32) {
        let writer = Writer {
            paths: &mut self.paths,
            opaques: &mut self.opaques,
            out: Vec::with_capacity(96),
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
        let analysis = Analysis { seed: self.seed };
        let mut places = Vec::new();
        for conjunction in analysis.conjunctions(root) {
            self.place(&conjunction, &mut places);
        }
        self.merge(&mut places);
        places.into()
    }

    /// Enters a filter at its places. `interval_of` tells what another filter demands of a bucket.
    pub(super) fn enter(
        &mut self,
        places: &[Place],
        id: RecordId,
        interval_of: impl Fn(RecordId, u32) -> Option<Interval>,
    ) {
        for place in places {
            let bucket = place.bucket;
            let alone = |other| interval_of(other, bucket);
            self.buckets.insert(bucket, place.interval(id), alone);
        }
    }

    /// Takes a filter from its places.
    pub(super) fn leave(&mut self, places: &[Place], id: RecordId) {
        for place in places {
            self.buckets.remove(place.bucket, place.interval(id));
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

    fn place(&mut self, conjunction: &Conjunction<'_>, places: &mut Vec<Place>) {
        let routes = conjunction.iter().map(|demand| demand.path.as_str());
        let paths: SmallVec<[_; 8]> = routes.map(|path| self.paths.acquire(path)).collect();
        let choice = self.choice(conjunction, &paths);
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
        for path in paths {
            self.paths.release(path);
        }
    }

    /// The best choice, unless there are too many shapes for it; then what shares its bucket
    /// with the fewest.
    fn choice(&self, conjunction: &Conjunction<'_>, paths: &[PathId]) -> Choice {
        let best = Choice::best(conjunction, paths, self.seed);
        if self.shapes.admits(&best.shape, &self.paths) {
            return best;
        }
        let alone = Choice::alone(conjunction, paths, self.seed).into_iter();
        alone.min_by_key(|choice| self.load(choice)).unwrap_or(best)
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
    fn merge(&mut self, places: &mut Vec<Place>) {
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
