//! Whether a document, or one value, meets a condition.

use std::cmp::Ordering;

use super::ast::{Clause, Comparison, List, Node, Test};
use super::compare::{Rank, compare};
use super::number::Number;
use super::path::{self, Leaf};
use super::value::Value;

impl Node {
    /// Whether the document made of these bytes meets the condition.
    pub(crate) fn matches(&self, document: &[u8]) -> bool {
        match self {
            Self::Always(always) => *always,
            Self::And(_, nodes) => nodes.iter().all(|node| node.matches(document)),
            Self::Or(nodes) => nodes.iter().any(|node| node.matches(document)),
            Self::Nor(nodes) => !nodes.iter().any(|node| node.matches(document)),
            Self::Not(_, node) => !node.matches(document),
            Self::Clause(clause) => clause.matches(document),
        }
    }
}

impl Clause {
    /// Whether any value at the path passes the test.
    pub(crate) fn matches(&self, document: &[u8]) -> bool {
        let test = &self.test;
        path::any(document, self.path.as_str(), test.leaf(), &mut |value| {
            test.passes(value)
        })
    }
}

impl Test {
    /// What an array at the end of the path means to this test.
    pub(crate) fn leaf(&self) -> Leaf {
        match self {
            Self::Compare(..) | Self::In(_) | Self::Exists => Leaf::Elements,
        }
    }

    /// Whether one value, or the absent value, passes.
    pub(crate) fn passes(&self, value: Option<Value<'_>>) -> bool {
        match self {
            Self::Compare(comparison, operand) => comparison.holds(value, operand.value()),
            Self::In(list) => list.contains(value),
            Self::Exists => value.is_some(),
        }
    }
}

impl Comparison {
    /// Whether `value` stands in this relation to `operand`.
    pub(crate) fn holds(self, value: Option<Value<'_>>, operand: Value<'_>) -> bool {
        let rank = value.map_or(Rank::Absent, |value| Rank::of(value.kind()));
        let operand_rank = Rank::of(operand.kind());
        if rank != operand_rank {
            return self.holds_across(rank, operand_rank);
        }
        let Some(value) = value else {
            return self.accepts(Ordering::Equal);
        };
        if self != Self::Eq && is_nan(value) != is_nan(operand) {
            return false;
        }
        self.accepts(compare(value, operand))
    }

    /// Values of different kinds compare in two cases only: absent counts as null, and the ends of
    /// the order lie beyond everything.
    fn holds_across(self, value: Rank, operand: Rank) -> bool {
        match (value, operand) {
            (Rank::Absent, Rank::Null) => self.accepts(Ordering::Equal),
            (_, Rank::MinKey) => matches!(self, Self::Gt | Self::Gte),
            (_, Rank::MaxKey) => matches!(self, Self::Lt | Self::Lte),
            _ => false,
        }
    }

    fn accepts(self, order: Ordering) -> bool {
        match self {
            Self::Eq => order.is_eq(),
            Self::Gt => order.is_gt(),
            Self::Gte => order.is_ge(),
            Self::Lt => order.is_lt(),
            Self::Lte => order.is_le(),
        }
    }
}

impl List {
    fn contains(&self, value: Option<Value<'_>>) -> bool {
        let find = |value| {
            self.values
                .binary_search_by(|each| compare(each.value(), value))
                .is_ok()
        };
        match value {
            Some(value) => {
                find(value) || (Rank::of(value.kind()) == Rank::Absent && find(Value::NULL))
            }
            None => find(Value::NULL),
        }
    }
}

fn is_nan(value: Value<'_>) -> bool {
    Number::of(value).is_some_and(Number::is_nan)
}
