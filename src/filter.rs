//! MongoDB's query language, exact: which documents a filter selects.
//!
//! A [`Filter`] is parsed once and then asked about documents in their raw form. It gives the
//! answer that `find` gives on a MongoDB 6.0 server, and refuses what that server refuses. All
//! here is pure: no I/O, no clock, no shared state. A [`FilterIndex`] asks many filters at once.
//!
//! `docs/filters.md` describes the language and the few deliberate differences.

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

/// A compiled filter.
#[derive(Clone, Debug)]
pub struct Filter {
    root: Node,
    weight: Weight,
    extent: Extent,
    /// Made where a match may be too expensive, to count its steps as an index does.
    alone: OnceLock<Box<Alone>>,
}

impl Filter {
    /// Compiles a query document within the default [`Limits`].
    pub fn parse(filter: &RawDocument) -> Result<Self, FilterError> {
        Self::parse_with(filter, &Limits::default())
    }

    /// Compiles a query document within the given limits.
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
    /// Total and bounded: what cannot be read in the document counts as absent, and where the
    /// default [`Steps`] are not enough the answer is no.
    pub fn matches(&self, document: &RawDocument) -> bool {
        self.matches_within(document, &mut Steps::default())
            .unwrap_or(false)
    }

    /// The same, as far as `steps` go. They pay for the most that the match can take, where that is
    /// known to be within them, else for each step.
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

    /// The same, with each step paid for: what the match takes, in place of what it could take.
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

    /// Why `document` matches or does not: the outcome of every clause. It has no parts where that
    /// takes more than twice the default [`Steps`].
    pub fn explain(&self, document: &RawDocument) -> Explanation {
        let steps = &mut Steps::new(2 * MOST_STEPS);
        let explained = explain::explain(&self.root, document.as_bytes(), steps);
        explained.unwrap_or_else(|TooExpensive| Explanation::bare(self.matches(document)))
    }

    /// Why no document can ever match, where that can be told from the filter alone.
    pub fn never_matches(&self) -> Option<String> {
        never::reason(&self.root)
    }

    /// The most steps that a match with a document of so many bytes can take.
    pub fn most_steps(&self, bytes: usize) -> u64 {
        self.weight.most_steps(bytes)
    }

    /// The most that a match can cost.
    pub(crate) fn weight(&self) -> Weight {
        self.weight
    }

    /// The compiled tree.
    pub(crate) fn root(&self) -> &Node {
        &self.root
    }
}
