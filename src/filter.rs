//! MongoDB's query language, exact.
//!
//! A [`Filter`] is parsed once, then matched with documents in their raw form. It gives the answer that `find` gives
//! on a MongoDB 6.0 server, and it refuses what that server refuses. A [`FilterIndex`] matches many filters at once.
//! All of it is pure: no I/O, no clock, no state that changes an answer.
//!
//! `docs/filters.md` describes the language and its few deliberate differences.

mod and;
mod ast;
mod big;
mod bits;
mod compare;
mod cost;
mod decimal;
mod error;
mod explain;
mod extent;
#[cfg(test)]
pub(crate) mod fault;
mod index;
mod limits;
mod matching;
mod never;
mod number;
mod packed;
mod parse;
mod path;
mod pattern;
#[cfg(test)]
mod tally;
#[cfg(test)]
mod tests;
mod value;
mod weight;

use std::sync::OnceLock;

use bson::RawDocument;

pub use self::cost::{Steps, TooExpensive};
pub use self::error::FilterError;
pub use self::explain::Explanation;
pub(crate) use self::index::{CompiledFilter, FilterCompiler, IndexBuilder, index_builder};
pub use self::index::{Effort, FilterIndex};
pub use self::limits::Limits;

use self::ast::Node;
use self::cost::{Free, MOST_STEPS, sure};
use self::extent::Extent;
use self::index::Alone;
use self::weight::Weight;

/// A parsed filter.
#[derive(Clone, Debug)]
pub struct Filter {
    root: Node,
    weight: Weight,
    extent: Extent,
    /// The filter as an index stores it. Made once a match may be too expensive, to count steps as an index does.
    alone: OnceLock<Box<Alone>>,
}

impl Filter {
    /// Parses a query document within the default [`Limits`].
    pub fn parse(filter: &RawDocument) -> Result<Self, FilterError> {
        Self::parse_with(filter, &Limits::default())
    }

    /// Parses a query document within the given limits.
    pub fn parse_with(filter: &RawDocument, limits: &Limits) -> Result<Self, FilterError> {
        #[cfg(test)]
        fault::strike(filter.as_bytes(), fault::COMPILED);
        let (root, extent) = parse::parse(filter.as_bytes(), limits)?;
        Ok(Self::new(root, extent))
    }

    fn new(root: Node, extent: Extent) -> Self {
        Self {
            weight: Weight::of(&root),
            root,
            extent,
            alone: OnceLock::new(),
        }
    }

    /// Whether `find` with this filter would return `document`.
    ///
    /// Every document has an answer. Elements that cannot be read count as absent, and if the default [`Steps`] do not
    /// suffice the answer is no.
    pub fn matches(&self, document: &RawDocument) -> bool {
        self.matches_within(document, &mut Steps::default())
            .unwrap_or(false)
    }

    /// Matches within a budget. If the match's worst case fits into `steps`, that is taken from them; if not, each step
    /// is counted.
    pub fn matches_within(
        &self,
        document: &RawDocument,
        steps: &mut Steps,
    ) -> Result<bool, TooExpensive> {
        let document = document.as_bytes();
        let most = self.weight.most_steps(document.len());
        if most <= steps.left() {
            steps.take(most);
            return Ok(sure(self.root.matches(document, &mut Free)));
        }
        self.alone().matches(document, steps)
    }

    /// Matches within a budget, and counts each step: `steps` then tell the real cost, not the worst case.
    pub fn matches_counted(
        &self,
        document: &RawDocument,
        steps: &mut Steps,
    ) -> Result<bool, TooExpensive> {
        self.alone().matches(document.as_bytes(), steps)
    }

    fn alone(&self) -> &Alone {
        self.alone.get_or_init(|| Box::new(Alone::new(&self.root)))
    }

    /// Explains why `document` matches or does not, clause by clause. The explanation has no parts if it would take
    /// more than twice the default [`Steps`].
    pub fn explain(&self, document: &RawDocument) -> Explanation {
        let steps = &mut Steps::new(2 * MOST_STEPS);
        let explained = explain::explain(&self.root, document.as_bytes(), steps);
        explained.unwrap_or_else(|TooExpensive| Explanation::bare(self.matches(document)))
    }

    /// Returns the reason why no document can ever match, if the filter alone shows one.
    pub fn never_matches(&self) -> Option<String> {
        never::reason(&self.root)
    }

    /// Returns the most steps that a match with a document of so many bytes can take.
    pub fn most_steps(&self, bytes: usize) -> u64 {
        self.weight.most_steps(bytes)
    }

    /// Returns the bound of a match's cost.
    pub(crate) fn weight(&self) -> Weight {
        self.weight
    }

    /// Returns the parsed tree.
    pub(crate) fn root(&self) -> &Node {
        &self.root
    }
}
