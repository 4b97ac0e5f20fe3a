//! MongoDB's query language, exact: which documents a filter selects.
//!
//! A [`Filter`] is parsed once and then asked about documents in their raw form. It gives the
//! answer that `find` gives on a MongoDB 6.0 server, and refuses what that server refuses. All
//! here is pure: no I/O, no clock, no shared state. A [`FilterIndex`] asks many filters at once.
//!
//! `docs/filters.md` describes the language and the few deliberate differences.

mod ast;
mod big;
mod bits;
mod compare;
mod decimal;
mod error;
mod explain;
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
mod tests;
mod value;

use bson::RawDocument;

pub use self::error::FilterError;
pub use self::explain::Explanation;
pub use self::index::FilterIndex;
pub(crate) use self::index::{Filling, Preparation, Prepared, parts};
pub use self::limits::Limits;

use self::ast::Node;

/// A compiled filter.
#[derive(Clone, Debug)]
pub struct Filter {
    root: Node,
}

impl Filter {
    /// Compiles a query document within the default [`Limits`].
    pub fn parse(filter: &RawDocument) -> Result<Self, FilterError> {
        Self::parse_with(filter, &Limits::default())
    }

    /// Compiles a query document within the given limits.
    pub fn parse_with(filter: &RawDocument, limits: &Limits) -> Result<Self, FilterError> {
        parse::parse(filter.as_bytes(), limits).map(|root| Self { root })
    }

    /// Whether `find` with this filter would return `document`.
    ///
    /// Total: what cannot be read in the document counts as absent.
    pub fn matches(&self, document: &RawDocument) -> bool {
        self.root.matches(document.as_bytes())
    }

    /// Why `document` matches or does not: the outcome of every clause.
    pub fn explain(&self, document: &RawDocument) -> Explanation {
        explain::explain(&self.root, document.as_bytes())
    }

    /// Why no document can ever match, where that can be told from the filter alone.
    pub fn never_matches(&self) -> Option<String> {
        never::reason(&self.root)
    }

    /// The compiled tree.
    pub(crate) fn root(&self) -> &Node {
        &self.root
    }
}
