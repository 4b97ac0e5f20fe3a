//! Two parsed filters as one.

use super::Filter;
use super::ast::{AndSyntax, Node};
use super::error::FilterError;
use super::extent::{Extent, TooBig};
use super::limits::Limits;

impl Filter {
    /// Joins two filters: a document has to match both. The result is the same as that of parsing
    /// `{$and: [self, other]}`: the same answers, the same cost, one entry in an index.
    ///
    /// A policy limits what a subscription sees. Its filter is parsed once, and joined with the filters of
    /// all subscriptions that are bound to it. Nobody can write into the joined filter to get out of it, as
    /// into a query that is put together as text.
    ///
    /// Both have been parsed within `limits`. What adds up in the two is checked anew, and is an error at the
    /// filter as a whole where it exceeds them.
    pub fn and(self, other: Self, limits: &Limits) -> Result<Self, FilterError> {
        let extent = self.extent.and(other.extent);
        extent
            .check(limits)
            .map_err(|TooBig { operator, reason }| FilterError {
                operator: operator.map(str::to_owned),
                pointer: String::new(),
                reason,
            })?;
        Ok(Self::joined(self, other, extent))
    }

    /// Returns a filter for the documents that match both this filter and a policy's. This one has been judged by its
    /// author's limits, and the policy's part is not the author's: nothing is checked anew.
    #[must_use]
    pub(crate) fn narrowed_by(&self, policy: &Self) -> Self {
        let extent = policy.extent.and(self.extent);
        // An index copies the demands that come first, if it has no room for all.
        Self::joined(policy.clone(), self.clone(), extent)
    }

    /// Returns a filter that no document matches.
    pub(crate) fn nothing() -> Self {
        Self::new(Node::Always(false), Extent::default())
    }

    fn joined(one: Self, other: Self, extent: Extent) -> Self {
        let both = Box::new([one.root, other.root]);
        Self::new(Node::And(AndSyntax::Operator, both), extent)
    }
}

impl Extent {
    /// Returns the extent of `{$and: [self, other]}`.
    fn and(self, other: Self) -> Self {
        /// Bytes of the two documents around the filters: an array in a document, each with its length, its
        /// end and its members' types and names.
        const AROUND_BYTES: usize =
            (4 + 1) + (1 + "$and\0".len()) + (4 + 1) + 2 * (1 + "0\0".len());
        /// The document and the array.
        const AROUND_LEVELS: usize = 2;
        // A filter without an `$elemMatch` goes through no paths to one.
        let path_levels = match self.path_levels.max(other.path_levels) {
            0 => 0,
            levels => levels + AROUND_LEVELS,
        };
        Self {
            bytes: AROUND_BYTES + self.bytes + other.bytes,
            clauses: 1 + self.clauses + other.clauses,
            levels: AROUND_LEVELS + self.levels.max(other.levels),
            path_levels,
            compiled_bytes: self.compiled_bytes + other.compiled_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Document, RawDocumentBuf, doc};

    fn raw(document: &Document) -> RawDocumentBuf {
        RawDocumentBuf::try_from(document).unwrap()
    }

    /// Returns the two filters as joined, and as parsed from one document.
    fn both_ways(
        one: &Document,
        other: &Document,
        limits: &Limits,
    ) -> (Result<Filter, FilterError>, Result<Filter, FilterError>) {
        let parse = |filter: &Document| Filter::parse(&raw(filter)).unwrap();
        let joined = parse(one).and(parse(other), limits);
        let whole = doc! {"$and": [one.clone(), other.clone()]};
        (joined, Filter::parse_with(&raw(&whole), limits))
    }

    fn pairs() -> Vec<(Document, Document)> {
        let nested = doc! {"a": {"$elemMatch": {"b.c": {"$elemMatch": {"$gt": 1, "$lt": 5}}}}};
        let pattern = doc! {"a": {"$regex": "^(x|y)*z{3}", "$options": "i"}};
        let list = doc! {"a": {"$in": [1, [2, [3]], {"b": 1}]}, "$comment": "two"};
        let logic = doc! {"$or": [{"a": 1}, {"$nor": [{"b": {"$not": {"$gt": 1}}}]}]};
        let all = [doc! {}, doc! {"a": 1}, nested, pattern, list, logic];
        let pairs = all
            .iter()
            .map(|one| all.iter().map(|other| (one.clone(), other.clone())));
        pairs.flatten().collect()
    }

    #[test]
    fn joining_is_the_same_as_parsing_an_and() {
        for (one, other) in pairs() {
            let (joined, parsed) = both_ways(&one, &other, &Limits::default());
            let (joined, parsed) = (joined.unwrap(), parsed.unwrap());
            assert_eq!(joined.root(), parsed.root());
            assert_eq!(joined.weight(), parsed.weight());
            assert_eq!(joined.extent, parsed.extent);
        }
    }

    /// A parser that meets several excesses names the first that it comes to.
    #[test]
    fn what_joined_filters_exceed_is_what_the_parser_refuses() {
        let mut refused = 0;
        for (one, other) in pairs() {
            let (joined, _) = both_ways(&one, &other, &Limits::default());
            let extent = joined.unwrap().extent;
            let all = Limits::default();
            for limits in [
                Limits {
                    filter_bytes: extent.bytes - 1,
                    ..all.clone()
                },
                Limits {
                    clauses: extent.clauses - 1,
                    ..all.clone()
                },
                Limits {
                    depth: extent.levels - 1,
                    ..all.clone()
                },
                Limits {
                    compiled_bytes: extent.compiled_bytes.saturating_sub(1),
                    ..all.clone()
                },
                Limits {
                    filter_bytes: extent.bytes,
                    clauses: extent.clauses,
                    depth: extent.levels,
                    compiled_bytes: extent.compiled_bytes,
                    ..all.clone()
                },
            ] {
                let (joined, parsed) = both_ways(&one, &other, &limits);
                let reason = |result: Result<Filter, FilterError>| {
                    result.err().map(|error| (error.operator, error.reason))
                };
                let (joined, parsed) = (reason(joined), reason(parsed));
                refused += usize::from(joined.is_some());
                assert_eq!(joined, parsed, "{one} and {other} within {limits:?}");
            }
        }
        assert!(refused > 3 * pairs().len());
    }

    #[test]
    fn paths_through_nested_arrays_are_bounded_together() {
        let deep = |levels: usize| {
            let path = vec!["a"; 100].join(".");
            let rest = vec!["a"; levels - 503].join(".");
            let innermost = doc! {rest: {"$elemMatch": {"b": 1}}};
            (0..5).fold(innermost, |inner, _| doc! {&path: {"$elemMatch": inner}})
        };
        for (levels, fits) in [(593, true), (594, true), (595, false), (596, false)] {
            let (joined, parsed) = both_ways(&deep(levels), &doc! {}, &Limits::default());
            assert_eq!(joined.is_ok(), parsed.is_ok(), "{levels}");
            assert_eq!(joined.is_ok(), fits, "{levels}");
        }
    }

    #[test]
    fn an_error_is_of_the_filter_as_a_whole() {
        let limits = Limits {
            clauses: 2,
            ..Limits::default()
        };
        let (joined, _) = both_ways(&doc! {"a": 1}, &doc! {"b": 1}, &limits);
        let error = joined.unwrap_err();
        assert_eq!(error.to_string(), "The filter has more than 2 conditions.");
    }
}
