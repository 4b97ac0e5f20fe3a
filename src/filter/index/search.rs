//! The search for the stored filters that an event could match, by the shapes.

use smallvec::{SmallVec, smallvec};

use super::super::compare::Rank;
#[cfg(test)]
use super::super::tally;
use super::super::value::Value;
use super::event::{Event, PathValues};
use super::key;
use super::literal;
use super::lookup::{Lookup, short};
use super::paths::{PathId, ShapeId};
use super::records::RecordId;
use super::shapes::{EVERYWHERE, How, KeyPart, Shape};

/// Digests, or keys of buckets in the making.
type States = SmallVec<[u64; 4]>;

/// A number of combinations that is never too large.
const MIN_BUDGET: usize = 1_000;

/// A search for one event.
pub(super) struct Search<'s, 'd, F> {
    lookup: &'s Lookup,
    event: &'s Event<'d>,
    visit: F,
    /// The buckets that may be searched before the search gives up.
    budget: usize,
    /// The values of arrays that may be looked up before it gives up.
    looks: usize,
}

impl<'s, 'd, F: FnMut(RecordId)> Search<'s, 'd, F> {
    /// Hands every stored filter that could match to `visit`, some of them more than once.
    ///
    /// `stored` is the number of filters. Returns false if arrays in the event make so many combinations that
    /// trying all filters costs less, or if more than `looks` of their values would be looked up. Some filters are
    /// missing then.
    pub(super) fn run(
        lookup: &'s Lookup,
        event: &'s Event<'d>,
        stored: usize,
        looks: usize,
        visit: F,
    ) -> bool {
        let budget = if event.has_arrays() {
            stored.max(MIN_BUDGET)
        } else {
            usize::MAX
        };
        let mut search = Self {
            lookup,
            event,
            visit,
            budget,
            looks,
        };
        search.all().is_some()
    }

    fn all(&mut self) -> Option<()> {
        let lookup = self.lookup;
        self.parts(&[], lookup.start(EVERYWHERE), (0, u64::MAX))?;
        for seen in self.event.seen() {
            for &id in lookup.paths.led(seen.path) {
                if let Some(shape) = lookup.shapes.get(id) {
                    self.shape(id, shape)?;
                }
            }
        }
        Some(())
    }

    fn shape(&mut self, id: ShapeId, shape: &Shape) -> Option<()> {
        let span = match shape.range {
            Some((path, rank)) => {
                if let Some(PathValues::Many(values)) = self.event.values(path) {
                    self.look_at(values)?;
                }
                self.span(path, rank)
            }
            None => Some((0, u64::MAX)),
        };
        match span {
            Some(span) => self.parts(&shape.parts, self.lookup.start(id), span),
            None => Some(()),
        }
    }

    /// Searches the buckets of every combination of the event's values at the paths of `parts`.
    fn parts(&mut self, parts: &[KeyPart], mut state: u64, span: (u64, u64)) -> Option<()> {
        for (at, part) in parts.iter().enumerate() {
            match self.event.values(part.path) {
                None => return Some(()),
                Some(PathValues::One(value)) => match self.digest(part.how, *value) {
                    Some(digest) => state = key::mix(state, digest),
                    None => return Some(()),
                },
                Some(PathValues::Many(_)) => {
                    return self.combinations(parts.get(at..)?, state, span);
                }
            }
        }
        self.bucket(state, span)
    }

    /// Does the same if some of the paths lead into arrays. Each value is looked up once.
    fn combinations(&mut self, parts: &[KeyPart], state: u64, span: (u64, u64)) -> Option<()> {
        let values = parts.iter().map(|part| self.event.values(part.path));
        let Some(values) = values.collect::<Option<SmallVec<[_; 4]>>>() else {
            return Some(());
        };
        let mut states: States = smallvec![state];
        for (part, values) in parts.iter().zip(values) {
            let values = match values {
                PathValues::One(value) => std::slice::from_ref(value),
                PathValues::Many(values) => values,
            };
            self.look_at(values)?;
            states = self.combined(&states, part.how, values)?;
        }
        let mut states = states.into_iter();
        states.try_for_each(|state| self.bucket(state, span))
    }

    fn bucket(&mut self, state: u64, (from, to): (u64, u64)) -> Option<()> {
        self.budget = self.budget.checked_sub(1)?;
        let buckets = &self.lookup.buckets;
        buckets.visit(short(state), from, to, &mut self.visit);
        Some(())
    }

    /// Combines every state with every value, if there are not too many.
    fn combined(&self, states: &States, how: How, values: &[Value<'_>]) -> Option<States> {
        let digests = values.iter().filter_map(|value| self.digest(how, *value));
        let mut digests: States = digests.collect();
        digests.sort_unstable();
        digests.dedup();
        if states.len().checked_mul(digests.len())? > self.budget {
            return None;
        }
        let with = |state: &u64| {
            let state = *state;
            digests.iter().map(move |digest| key::mix(state, *digest))
        };
        Some(states.iter().flat_map(with).collect())
    }

    /// Pays for the look-up of values in arrays.
    fn look_at(&mut self, values: &[Value<'_>]) -> Option<()> {
        #[cfg(test)]
        tally::add(values.len());
        self.looks = self.looks.checked_sub(values.len())?;
        Some(())
    }

    fn digest(&self, how: How, value: Value<'_>) -> Option<u64> {
        let seed = self.lookup.seed;
        match how {
            How::Equal => Some(key::digest(value, seed)),
            How::Present => Some(0),
            How::Prefix(length) => {
                let first = |text: &[u8]| Some(key::bytes_digest(text.get(..length.into())?, seed));
                match value.regex() {
                    // A pattern matches an equal pattern, and both have the same prefix.
                    Some((source, options)) => {
                        let source = str::from_utf8(source).ok()?;
                        first(literal::prefix(source, str::from_utf8(options).ok()?).as_bytes())
                    }
                    None => first(value.text()?),
                }
            }
        }
    }

    /// Returns the least and the greatest ordinal of the event's values of this rank at a path.
    fn span(&self, path: PathId, rank: Rank) -> Option<(u64, u64)> {
        let of_rank = |value: &&Value<'_>| Rank::of(value.kind()) == rank;
        let ordinals = |values: &[Value<'_>]| {
            let ordinals = || {
                values
                    .iter()
                    .filter(of_rank)
                    .map(|value| key::ordinal(*value))
            };
            Some((ordinals().min()?, ordinals().max()?))
        };
        match self.event.values(path)? {
            PathValues::One(value) => ordinals(std::slice::from_ref(value)),
            PathValues::Many(values) => ordinals(values),
        }
    }
}
