//! Whether a document, or one value, meets a condition.

use std::cmp::Ordering;

use super::ast::{Clause, Comparison, List, Modulo, Node, Test};
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

impl Node {
    /// Whether one value meets the condition. Paths are not followed: this is how the operators
    /// inside `$elemMatch` see an element.
    pub(crate) fn matches_value(&self, value: Value<'_>) -> bool {
        match self {
            Self::Always(always) => *always,
            Self::And(_, nodes) => nodes.iter().all(|node| node.matches_value(value)),
            Self::Or(nodes) => nodes.iter().any(|node| node.matches_value(value)),
            Self::Nor(nodes) => !nodes.iter().any(|node| node.matches_value(value)),
            Self::Not(_, node) => !node.matches_value(value),
            Self::Clause(clause) => clause.test.passes(Some(value)),
        }
    }
}

impl Clause {
    /// Whether the values at the path pass the test.
    pub(crate) fn matches(&self, document: &[u8]) -> bool {
        match &self.test {
            Test::All(tests) => {
                !tests.is_empty() && tests.iter().all(|test| self.any(document, test))
            }
            test => self.any(document, test),
        }
    }

    fn any(&self, document: &[u8], test: &Test) -> bool {
        path::any(document, self.path.as_bytes(), test.leaf(), &mut |value| {
            test.passes(value)
        })
    }
}

impl Test {
    /// What an array at the end of the path means to this test.
    pub(crate) fn leaf(&self) -> Leaf {
        match self {
            Self::Size(_) | Self::ElemMatchDocument(_) | Self::ElemMatchValue(_) => Leaf::Whole,
            _ => Leaf::Elements,
        }
    }

    /// Whether one value, or the absent value, passes.
    pub(crate) fn passes(&self, value: Option<Value<'_>>) -> bool {
        match self {
            Self::Compare(comparison, operand) => comparison.holds(value, operand.value()),
            Self::In(list) => list.contains(value),
            Self::All(tests) => !tests.is_empty() && tests.iter().all(|test| test.passes(value)),
            _ => value.is_some_and(|value| self.passes_present(value)),
        }
    }

    fn passes_present(&self, value: Value<'_>) -> bool {
        match self {
            Self::Compare(..) | Self::In(_) | Self::All(_) => self.passes(Some(value)),
            Self::Exists => true,
            Self::Type(types) => types.contains(value.kind()),
            Self::Regex(pattern) => pattern.matches(value),
            Self::Mod(modulo) => modulo.holds(value),
            Self::Size(size) => value.is_array() && value.elements().count() == *size as usize,
            Self::Bits(test) => test.holds(value),
            Self::ElemMatchDocument(node) => any_element(value, |element| {
                (element.is_document() || element.is_array()) && node.matches(element.bytes())
            }),
            Self::ElemMatchValue(node) => any_element(value, |element| node.matches_value(element)),
        }
    }
}

fn any_element(array: Value<'_>, pass: impl Fn(Value<'_>) -> bool) -> bool {
    array.is_array() && array.elements().any(|(_, element)| pass(element))
}

impl Modulo {
    /// Whether a number, cut to an integer, leaves the remainder.
    fn holds(self, value: Value<'_>) -> bool {
        let dividend = Number::of(value).and_then(Number::truncated);
        dividend.is_some_and(|dividend| dividend.wrapping_rem(self.divisor) == self.remainder)
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
    /// Whether the value is listed or matched. The absent value counts as null.
    fn contains(&self, value: Option<Value<'_>>) -> bool {
        let value = value.filter(|value| Rank::of(value.kind()) != Rank::Absent);
        let value = value.unwrap_or(Value::NULL);
        self.values
            .binary_search_by(|each| compare(each.value(), value))
            .is_ok()
            || self.patterns.iter().any(|pattern| pattern.matches(value))
    }
}

fn is_nan(value: Value<'_>) -> bool {
    Number::of(value).is_some_and(Number::is_nan)
}
