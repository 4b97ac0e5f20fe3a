//! Which demands of a conjunction to look it up by.

use smallvec::{SmallVec, smallvec};

use super::demand::{Conjunction, What};
use super::key;
use super::paths::{PathId, ROOT};
use super::shapes::{How, Part, Shape};

/// How many paths go into one digest.
const MAX_PARTS: usize = 4;
/// How many values of an `$in` go into digests together with other demands.
const MAX_MIXED_VALUES: usize = 32;
/// Prefixes up to this length are compared whole. Longer ones are cut to one of few lengths,
/// because every length is a shape of its own.
const MAX_WHOLE_PREFIX: u8 = 64;
const LONG_PREFIXES: [u8; 3] = [192, 128, 96];

/// A way to look a conjunction up.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// The demands that are looked at.
    pub(super) shape: Shape,
    /// For each part of the shape the digests of what it may be.
    pub(super) digests: SmallVec<[Digests; 4]>,
    /// The interval that is demanded.
    pub(super) lo: u64,
    /// Its upper end.
    pub(super) hi: u64,
}

/// The digests of what may stand at a path.
pub(super) type Digests = SmallVec<[u64; 1]>;
type Parts = SmallVec<[(Part, Digests); 4]>;

/// The demands of a conjunction by their use.
#[derive(Default)]
struct Sorted {
    /// One value.
    equal: Parts,
    /// The shortest list of several values.
    listed: Option<(Part, Digests)>,
    /// The longest prefix.
    prefix: Option<(Part, Digests)>,
    present: Option<(Part, Digests)>,
    range: Option<Range>,
}

#[derive(Clone, Copy)]
struct Range {
    path: PathId,
    rank: super::super::compare::Rank,
    lo: u64,
    hi: u64,
}

impl Choice {
    /// The best choice, if there were no other filters. `paths` are the numbers of the demands'
    /// paths.
    pub(super) fn best(conjunction: &Conjunction<'_>, paths: &[PathId], seed: u64) -> Self {
        let sorted = Sorted::of(conjunction, paths, seed);
        let range = sorted.range;
        Self::new(sorted.parts(), range)
    }

    /// What to fall back on: each demand of the best choice alone.
    pub(super) fn alone(conjunction: &Conjunction<'_>, paths: &[PathId], seed: u64) -> Vec<Self> {
        let sorted = Sorted::of(conjunction, paths, seed);
        let range = sorted
            .range
            .map(|range| Self::new(Parts::new(), Some(range)));
        let parts = sorted.parts().into_iter();
        let parts = parts.map(|part| Self::new(smallvec![part], None));
        parts.chain(range).collect()
    }

    fn new(mut parts: Parts, range: Option<Range>) -> Self {
        parts.sort_unstable_by_key(|(part, _)| part.path);
        let (lo, hi) = range.map_or((0, u64::MAX), |range| (range.lo, range.hi));
        Self {
            shape: Shape {
                parts: parts.iter().map(|(part, _)| *part).collect(),
                range: range.map(|range| (range.path, range.rank)),
            },
            digests: parts.into_iter().map(|(_, digests)| digests).collect(),
            lo,
            hi,
        }
    }
}

impl Sorted {
    fn of(conjunction: &Conjunction<'_>, paths: &[PathId], seed: u64) -> Self {
        let mut sorted = Self::default();
        let demands = conjunction.iter().zip(paths);
        for (demand, path) in demands.filter(|(_, path)| **path != ROOT) {
            sorted.take(*path, &demand.what, seed);
        }
        sorted
    }

    fn take(&mut self, path: PathId, what: &What, seed: u64) {
        let part = |how| Part { path, how };
        match what {
            What::Equal(digests) if digests.len() == 1 => {
                self.equal.push((part(How::Equal), digests.clone()));
            }
            What::Equal(digests) => {
                if self
                    .listed
                    .as_ref()
                    .is_none_or(|(_, best)| digests.len() < best.len())
                {
                    self.listed = Some((part(How::Equal), digests.clone()));
                }
            }
            What::Prefix(text) => self.take_prefix(path, text.as_bytes(), seed),
            What::Present => self.present = Some((part(How::Present), smallvec![0])),
            What::Range(rank, lo, hi) => {
                let range = Range {
                    path,
                    rank: *rank,
                    lo: *lo,
                    hi: *hi,
                };
                if self.range.is_none_or(|best| range.ends() > best.ends()) {
                    self.range = Some(range);
                }
            }
        }
    }

    fn take_prefix(&mut self, path: PathId, text: &[u8], seed: u64) {
        let length = prefix_length(text.len());
        let how = How::Prefix(length);
        if self.prefix.as_ref().is_none_or(|(best, _)| how > best.how) {
            let digest = key::bytes_digest(&text[..usize::from(length)], seed);
            self.prefix = Some((Part { path, how }, smallvec![digest]));
        }
    }

    /// What goes into the digest.
    fn parts(self) -> Parts {
        // Paths that came last are the rarest in events.
        let mut parts = self.equal;
        parts.sort_unstable_by_key(|(part, _)| std::cmp::Reverse(part.path));
        parts.dedup_by_key(|(part, _)| part.path);
        parts.truncate(MAX_PARTS);
        let room = |parts: &Parts| parts.len() < MAX_PARTS;
        let new = |parts: &Parts, path| parts.iter().all(|(part, _)| part.path != path);
        if let Some((part, digests)) = self.listed
            && (parts.is_empty() || (room(&parts) && digests.len() <= MAX_MIXED_VALUES))
            && new(&parts, part.path)
        {
            parts.push((part, digests));
        }
        if let Some((part, digests)) = self.prefix
            && room(&parts)
            && new(&parts, part.path)
        {
            parts.push((part, digests));
        }
        if parts.is_empty() && self.range.is_none() {
            parts.extend(self.present);
        }
        parts
    }
}

impl Range {
    /// How many ends the range has.
    fn ends(&self) -> u8 {
        u8::from(self.lo > 0) + u8::from(self.hi < u64::MAX)
    }
}

/// How much of a prefix of this length is compared; never more than all of it.
fn prefix_length(length: usize) -> u8 {
    let mut long = LONG_PREFIXES.into_iter();
    match long.find(|each| usize::from(*each) <= length) {
        Some(cut) => cut,
        None => {
            u8::try_from(length).map_or(MAX_WHOLE_PREFIX, |length| length.min(MAX_WHOLE_PREFIX))
        }
    }
}
