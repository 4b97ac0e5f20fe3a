//! Which stored filters an event could match, found through the shapes.

use smallvec::SmallVec;

use super::super::compare::Rank;
use super::super::value::Value;
use super::event::{Event, Values};
use super::key;
use super::literal;
use super::lookup::{Lookup, short};
use super::paths::{PathId, ShapeId};
use super::records::RecordId;
use super::shapes::{EVERYWHERE, How, Part, Shape};

type Digests = SmallVec<[u64; 4]>;

/// How many combinations are never too many.
const MIN_BUDGET: usize = 1_000;

/// A search for one event.
pub(super) struct Search<'s, 'd, F> {
    lookup: &'s Lookup,
    event: &'s Event<'d>,
    visit: F,
    /// How many buckets may be looked into before the search gives up.
    budget: usize,
}

impl<'s, 'd, F: FnMut(RecordId)> Search<'s, 'd, F> {
    /// Shows to `visit` every stored filter that could match, some of them more than once.
    ///
    /// `stored` is how many filters there are. False if arrays in the event make so many
    /// combinations that trying all filters costs less; then some were not shown.
    pub(super) fn run(lookup: &'s Lookup, event: &'s Event<'d>, stored: usize, visit: F) -> bool {
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
            Some((path, rank)) => self.span(path, rank),
            None => Some((0, u64::MAX)),
        };
        match span {
            Some(span) => self.parts(&shape.parts, self.lookup.start(id), span),
            None => Some(()),
        }
    }

    /// Goes through every combination of the event's values at the paths of `parts`.
    fn parts(&mut self, parts: &[Part], state: u64, span: (u64, u64)) -> Option<()> {
        let Some((part, rest)) = parts.split_first() else {
            self.budget = self.budget.checked_sub(1)?;
            let (from, to) = span;
            self.lookup
                .buckets
                .visit(short(state), from, to, &mut self.visit);
            return Some(());
        };
        match self.event.values(part.path) {
            None => Some(()),
            Some(Values::One(value)) => match self.digest(part.how, *value) {
                Some(digest) => self.parts(rest, key::mix(state, digest), span),
                None => Some(()),
            },
            Some(Values::Many(values)) => {
                let digests = values
                    .iter()
                    .filter_map(|value| self.digest(part.how, *value));
                let mut digests: Digests = digests.collect();
                digests.sort_unstable();
                digests.dedup();
                let mut states = digests.iter().map(|digest| key::mix(state, *digest));
                states.try_for_each(|state| self.parts(rest, state, span))
            }
        }
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
