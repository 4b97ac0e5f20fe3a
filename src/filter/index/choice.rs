//! The choice of the demands by which a conjunction is looked up.

use smallvec::{SmallVec, smallvec};

use super::demand::{Conjunction, Demanded};
use super::key;
use super::paths::{PathId, ROOT};
use super::shapes::{How, KeyPart, Shape};

/// Most paths in one digest.
const MAX_PARTS: usize = 4;
/// Most values of an `$in` that is combined with other demands.
const MAX_MIXED_VALUES: usize = 32;
/// Bytes up to which a prefix is compared whole. Longer ones are cut to one of few lengths, since every length is a
/// shape of its own.
const MAX_WHOLE_PREFIX_BYTES: u8 = 64;
const LONG_PREFIX_BYTES: [u8; 3] = [192, 128, 96];

/// A way to look up a conjunction.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// The shape of the chosen demands.
    pub(super) shape: Shape,
    /// The digests of the demanded values, for each part of the shape.
    pub(super) digests: SmallVec<[Digests; 4]>,
    /// The lower end of the demanded interval.
    pub(super) lo: u64,
    /// The upper end of the demanded interval.
    pub(super) hi: u64,
}

/// The digests of the values that a path may have.
pub(super) type Digests = SmallVec<[u64; 1]>;
type KeyParts = SmallVec<[(KeyPart, Digests); 4]>;

/// The demands of a conjunction, sorted by their use.
#[derive(Default)]
struct Sorted {
    /// Demands of one value.
    equal: KeyParts,
    /// The shortest list of several values.
    listed: Option<(KeyPart, Digests)>,
    /// The longest prefix.
    prefix: Option<(KeyPart, Digests)>,
    present: Option<(KeyPart, Digests)>,
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
    /// Returns the best choice regardless of other filters. `paths` are the ids of the demands' paths.
    pub(super) fn best(conjunction: &Conjunction<'_>, paths: &[PathId], seed: u64) -> Self {
        let sorted = Sorted::of(conjunction, paths, seed);
        let range = sorted.range;
        Self::new(sorted.parts(), range)
    }

    /// Returns the choices to fall back on: each demand of the best choice alone.
    pub(super) fn alone(conjunction: &Conjunction<'_>, paths: &[PathId], seed: u64) -> Vec<Self> {
        let sorted = Sorted::of(conjunction, paths, seed);
        let range = sorted
            .range
            .map(|range| Self::new(KeyParts::new(), Some(range)));
        let parts = sorted.parts().into_iter();
        let parts = parts.map(|part| Self::new(smallvec![part], None));
        parts.chain(range).collect()
    }

    fn new(mut parts: KeyParts, range: Option<Range>) -> Self {
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
            sorted.take(*path, &demand.demanded, seed);
        }
        sorted
    }

    fn take(&mut self, path: PathId, what: &Demanded, seed: u64) {
        let part = |how| KeyPart { path, how };
        match what {
            Demanded::Equal(digests) if digests.len() == 1 => {
                self.equal.push((part(How::Equal), digests.clone()));
            }
            Demanded::Equal(digests) => {
                if self
                    .listed
                    .as_ref()
                    .is_none_or(|(_, best)| digests.len() < best.len())
                {
                    self.listed = Some((part(How::Equal), digests.clone()));
                }
            }
            Demanded::Prefix(text) => self.take_prefix(path, text.as_bytes(), seed),
            Demanded::Present => self.present = Some((part(How::Present), smallvec![0])),
            Demanded::Range(rank, lo, hi) => {
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
            self.prefix = Some((KeyPart { path, how }, smallvec![digest]));
        }
    }

    /// Returns the parts of the digest.
    fn parts(self) -> KeyParts {
        // The paths that came to the index last are the rarest in events.
        let mut parts = self.equal;
        parts.sort_unstable_by_key(|(part, _)| std::cmp::Reverse(part.path));
        parts.dedup_by_key(|(part, _)| part.path);
        parts.truncate(MAX_PARTS);
        let room = |parts: &KeyParts| parts.len() < MAX_PARTS;
        let new = |parts: &KeyParts, path| parts.iter().all(|(part, _)| part.path != path);
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
    /// Counts the ends of the range.
    fn ends(&self) -> u8 {
        u8::from(self.lo > 0) + u8::from(self.hi < u64::MAX)
    }
}

/// Returns the number of bytes of a prefix that are compared.
fn prefix_length(length: usize) -> u8 {
    let mut long = LONG_PREFIX_BYTES.into_iter();
    match long.find(|each| usize::from(*each) <= length) {
        Some(cut) => cut,
        None => u8::try_from(length).map_or(MAX_WHOLE_PREFIX_BYTES, |length| {
            length.min(MAX_WHOLE_PREFIX_BYTES)
        }),
    }
}
