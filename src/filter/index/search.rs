//! Which stored filters an event could match, found through the shapes.

use smallvec::{SmallVec, smallvec};

use super::super::compare::Rank;
#[cfg(test)]
use super::super::tally;
use super::super::value::Value;
use super::event::{Event, Values};
use super::key;
use super::literal;
use super::lookup::{Lookup, short};
use super::paths::{PathId, ShapeId};
use super::records::RecordId;
use super::shapes::{EVERYWHERE, How, Part, Shape};

/// Digests, or the keys of buckets in the making.
type States = SmallVec<[u64; 4]>;

/// How many combinations are never too many.
const MIN_BUDGET: usize = 1_000;

/// A search for one event.
pub(super) struct Search<'s, 'd, F> {
    lookup: &'s Lookup,
    event: &'s Event<'d>,
    visit: F,
    /// How many buckets may be looked into before the search gives up.
    budget: usize,
    /// How many values of arrays may be looked at.
    looks: usize,
}

impl<'s, 'd, F: FnMut(RecordId)> Search<'s, 'd, F> {
    /// Shows to `visit` every stored filter that could match, some of them more than once.
    ///
    /// `stored` is how many filters there are. False if arrays in the event make so many
    /// combinations that trying all filters costs less, or if more than `looks` values in them would have to
    /// be looked at; then some were not shown.
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
                if let Some(Values::Many(values)) = self.event.values(path) {
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

    /// Goes through every combination of the event's values at the paths of `parts`.
    fn parts(&mut self, parts: &[Part], mut state: u64, span: (u64, u64)) -> Option<()> {
        for (at, part) in parts.iter().enumerate() {
            match self.event.values(part.path) {
                None => return Some(()),
                Some(Values::One(value)) => match self.digest(part.how, *value) {
                    Some(digest) => state = key::mix(state, digest),
                    None => return Some(()),
                },
                Some(Values::Many(_)) => {
                    return self.combinations(parts.get(at..)?, state, span);
                }
            }
        }
        self.bucket(state, span)
    }

    /// The same, where some of the paths lead into arrays. Each value is looked at once.
    fn combinations(&mut self, parts: &[Part], state: u64, span: (u64, u64)) -> Option<()> {
        let values = parts.iter().map(|part| self.event.values(part.path));
        let Some(values) = values.collect::<Option<SmallVec<[_; 4]>>>() else {
            return Some(());
        };
        let mut states: States = smallvec![state];
        for (part, values) in parts.iter().zip(values) {
            let values = match values {
                Values::One(value) => std::slice::from_ref(value),
                Values::Many(values) => values,
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

    /// Every state with every one of the values, if that is not too much.
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

    /// Pays for a look at values in arrays.
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
                    // A pattern matches its like: what both begin with is the same.
                    Some((source, options)) => {
                        let source = str::from_utf8(source).ok()?;
                        first(literal::prefix(source, str::from_utf8(options).ok()?).as_bytes())
                    }
                    None => first(value.text()?),
                }
            }
        }
    }

    /// The least and the greatest place of the event's values of this rank at a path.
    fn span(&self, path: PathId, rank: Rank) -> Option<(u64, u64)> {
        let of_rank = |value: &&Value<'_>| Rank::of(value.kind()) == rank;
        let places = |values: &[Value<'_>]| {
            let places = || {
                values
                    .iter()
                    .filter(of_rank)
                    .map(|value| key::place(*value))
            };
            Some((places().min()?, places().max()?))
        };
        match self.event.values(path)? {
            Values::One(value) => places(std::slice::from_ref(value)),
            Values::Many(values) => places(values),
        }
    }
}
