//! Policies bound to claims.

use std::sync::Arc;

use bson::{Document, RawDocument, RawDocumentBuf};

use super::template::Template;
use super::values::{Unsatisfied, Values};
use crate::filter::{Explanation, Filter, Limits};

/// A predicate on documents: a part of a policy with a caller's claims in it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BoundPolicy(Arc<Bound>);

#[derive(Debug)]
struct Bound {
    query: Document,
    filter: Filter,
}

impl BoundPolicy {
    pub(super) fn new(template: &Template, values: &Values<'_>) -> Result<Self, Unsatisfied> {
        let query = template.query(values)?;
        // The template has been judged with claims in it. Theirs are the only bytes that are new.
        let limits = Limits {
            filter_bytes: usize::MAX,
            clauses: usize::MAX,
            ..Limits::default()
        };
        let raw = RawDocumentBuf::try_from(&query).ok();
        let filter = raw.and_then(|raw| Filter::parse_with(&raw, &limits).ok());
        let filter = filter.unwrap_or_else(Filter::nothing);
        Ok(Self(Arc::new(Bound { query, filter })))
    }

    /// Returns the predicate as a query of MongoDB.
    pub fn query(&self) -> Document {
        self.0.query.clone()
    }

    /// Whether a document is within the policy.
    pub fn permits(&self, document: &RawDocument) -> bool {
        self.0.filter.matches(document)
    }

    /// Explains whether a document is within the policy: condition by condition of the query.
    pub(crate) fn explain(&self, document: &RawDocument) -> Explanation {
        self.0.filter.explain(document)
    }

    /// Returns a filter for what matches `user` and is within the policy. The two are joined as trees: nothing in the
    /// user's can get out of the policy, and its bounds count it alone.
    #[must_use]
    pub fn narrow(&self, user: &Filter) -> Filter {
        user.narrowed_by(&self.0.filter)
    }

    pub(super) fn filter(&self) -> &Filter {
        &self.0.filter
    }
}

impl PartialEq for BoundPolicy {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.query == other.0.query
    }
}
