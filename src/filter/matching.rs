//! Matching of documents and single values with conditions.

use std::cmp::Ordering;

use super::ast::{Clause, Comparison, InList, Modulo, Node, Operand, Test};
use super::compare::{Rank, compare, cost};
use super::cost::Meter;
use super::number::Number;
use super::path::{self, Leaf};
use super::value::Value;

/// Whether all of `each` pass. Ends early if that cannot be paid for.
fn all<T, E>(
    each: impl IntoIterator<Item = T>,
    mut pass: impl FnMut(T) -> Result<bool, E>,
) -> Result<bool, E> {
    for item in each {
        if !pass(item)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn any<T, E>(
    each: impl IntoIterator<Item = T>,
    mut pass: impl FnMut(T) -> Result<bool, E>,
) -> Result<bool, E> {
    all(each, |item| pass(item).map(|passes| !passes)).map(|none| !none)
}

impl Node {
    /// Whether the document made of these bytes meets the condition.
    pub(crate) fn matches<M: Meter>(
        &self,
        document: &[u8],
        meter: &mut M,
    ) -> Result<bool, M::Over> {
        match self {
            Self::Always(always) => Ok(*always),
            Self::And(_, nodes) => all(nodes, |node| node.matches(document, meter)),
            Self::Or(nodes) => any(nodes, |node| node.matches(document, meter)),
            Self::Nor(nodes) => any(nodes, |node| node.matches(document, meter)).map(|any| !any),
            Self::Not(_, node) => node.matches(document, meter).map(|holds| !holds),
            Self::Clause(clause) => clause.matches(document, meter),
        }
    }

    /// Whether one value meets the condition. Paths are not followed, as for the operators inside `$elemMatch`.
    pub(crate) fn matches_value<M: Meter>(
        &self,
        value: Value<'_>,
        meter: &mut M,
    ) -> Result<bool, M::Over> {
        match self {
            Self::Always(always) => Ok(*always),
            Self::And(_, nodes) => all(nodes, |node| node.matches_value(value, meter)),
            Self::Or(nodes) => any(nodes, |node| node.matches_value(value, meter)),
            Self::Nor(nodes) => any(nodes, |node| node.matches_value(value, meter)).map(|any| !any),
            Self::Not(_, node) => node.matches_value(value, meter).map(|holds| !holds),
            Self::Clause(clause) => clause.test.passes(Some(value), meter),
        }
    }
}

impl Clause {
    /// Whether the values at the path pass the test.
    pub(crate) fn matches<M: Meter>(
        &self,
        document: &[u8],
        meter: &mut M,
    ) -> Result<bool, M::Over> {
        match &self.test {
            Test::All(tests) if tests.is_empty() => Ok(false),
            Test::All(tests) => all(tests, |test| self.any(document, test, meter)),
            test => self.any(document, test, meter),
        }
    }

    fn any<M: Meter>(&self, document: &[u8], test: &Test, meter: &mut M) -> Result<bool, M::Over> {
        path::any(
            document,
            self.path.as_bytes(),
            test.leaf(),
            meter,
            &mut |value, meter| test.passes(value, meter),
        )
    }
}

impl Test {
    /// Returns the meaning of an array at the end of the path for this test.
    pub(crate) fn leaf(&self) -> Leaf {
        match self {
            Self::Size(_) | Self::ElemMatchDocument(_) | Self::ElemMatchValue(_) => Leaf::Whole,
            _ => Leaf::Elements,
        }
    }

    /// Whether one value, or the absent value, passes.
    pub(crate) fn passes<M: Meter>(
        &self,
        value: Option<Value<'_>>,
        meter: &mut M,
    ) -> Result<bool, M::Over> {
        meter.charge(TEST_STEPS)?;
        match self {
            Self::Compare(comparison, operand) => comparison.holds(value, operand.value(), meter),
            Self::In(list) => list.contains(value, meter),
            Self::All(tests) if tests.is_empty() => Ok(false),
            Self::All(tests) => all(tests, |test| test.passes(value, meter)),
            _ => match value {
                Some(value) => self.passes_present(value, meter),
                None => Ok(false),
            },
        }
    }

    fn passes_present<M: Meter>(&self, value: Value<'_>, meter: &mut M) -> Result<bool, M::Over> {
        match self {
            Self::Compare(..) | Self::In(_) | Self::All(_) => self.passes(Some(value), meter),
            Self::Exists => Ok(true),
            Self::Type(types) => Ok(types.contains(value.kind())),
            Self::Regex(pattern) => pattern.matches(value, meter),
            Self::Mod(modulo) => Ok(modulo.holds(value)),
            Self::Size(size) => {
                meter.charge(value.bytes().len())?;
                Ok(value.is_array() && value.elements().count() == *size as usize)
            }
            Self::Bits(test) => {
                meter.charge(test.cost(value))?;
                Ok(test.holds(value))
            }
            Self::ElemMatchDocument(node) => any_element(value, meter, |element, meter| {
                Ok((element.is_document() || element.is_array())
                    && node.matches(element.bytes(), meter)?)
            }),
            Self::ElemMatchValue(node) => any_element(value, meter, |element, meter| {
                node.matches_value(element, meter)
            }),
        }
    }
}

/// The steps to hand one value to one test.
pub(super) const TEST_STEPS: usize = 8;

fn any_element<M: Meter>(
    array: Value<'_>,
    meter: &mut M,
    pass: impl Fn(Value<'_>, &mut M) -> Result<bool, M::Over>,
) -> Result<bool, M::Over> {
    if !array.is_array() {
        return Ok(false);
    }
    any(array.elements(), |(name, element)| {
        meter.charge(TEST_STEPS + name.len())?;
        pass(element, meter)
    })
}

impl Modulo {
    /// Whether a number, truncated to an integer, leaves the remainder.
    fn holds(self, value: Value<'_>) -> bool {
        let dividend = Number::of(value).and_then(Number::truncated);
        dividend.is_some_and(|dividend| dividend.wrapping_rem(self.divisor) == self.remainder)
    }
}

impl Comparison {
    /// Whether `value` compares to `operand` in this way.
    pub(crate) fn holds<M: Meter>(
        self,
        value: Option<Value<'_>>,
        operand: Value<'_>,
        meter: &mut M,
    ) -> Result<bool, M::Over> {
        if let Some(value) = value {
            meter.charge(cost(value, operand))?;
        }
        Ok(self.accepts_of(value, operand))
    }

    /// Whether `value` compares to `operand` in this way, without counting steps.
    pub(crate) fn accepts_of(self, value: Option<Value<'_>>, operand: Value<'_>) -> bool {
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

    /// Compares values of different kinds. That holds in two cases only: absent counts as null, and `MinKey` and
    /// `MaxKey` lie beyond everything.
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

impl InList {
    /// Whether the value is listed or matches a pattern. The absent value counts as null.
    fn contains<M: Meter>(&self, value: Option<Value<'_>>, meter: &mut M) -> Result<bool, M::Over> {
        let value = value.filter(|value| Rank::of(value.kind()) != Rank::Absent);
        let value = value.unwrap_or(Value::NULL);
        let listed = self.values.len();
        Ok(search(
            listed,
            |at| self.values.get(at).map(Operand::value),
            value,
            meter,
        )? || any(&self.patterns, |pattern| pattern.matches(value, meter))?)
    }
}

/// Whether `value` is among sorted values.
pub(crate) fn search<'v, M: Meter>(
    number: usize,
    get: impl Fn(usize) -> Option<Value<'v>>,
    value: Value<'_>,
    meter: &mut M,
) -> Result<bool, M::Over> {
    let (mut low, mut high) = (0, number);
    while low < high {
        let middle = low.midpoint(high);
        let Some(listed) = get(middle) else {
            return Ok(false);
        };
        meter.charge(TEST_STEPS + cost(value, listed))?;
        match compare(listed, value) {
            Ordering::Equal => return Ok(true),
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
        }
    }
    Ok(false)
}

fn is_nan(value: Value<'_>) -> bool {
    Number::of(value).is_some_and(Number::is_nan)
}
