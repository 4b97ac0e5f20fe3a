//! A bound of a match's cost, from the filter and the document's size alone.
//!
//! Almost every match is known to fit into its budget before it begins, and then no step of it is counted. The bound
//! follows the charges of [`path`](super::path), [`matching`](super::matching) and [`pattern`](super::pattern) for a
//! document of the worst shape. A test holds it to them.

use std::ops::Add;

use bson::spec::ElementType;

use super::ast::{BitTest, Clause, InList, Node, Operand, Positions, Test};
use super::compare::{DECIMAL_STEPS, DECIMAL_WITH_DOUBLE_STEPS, NESTED_BYTE_STEPS, Rank};
use super::matching::TEST_STEPS;
use super::path::{ELEMENT_STEPS, PATH_STEPS};
use super::pattern::Pattern;

/// Bytes added to a document's size, for the fixed cost of a match.
const BASE_BYTES: u32 = 64;

/// The steps for each byte of a document, in the worst case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Weight(u32);

impl Weight {
    /// The weight of a plain filter of a dozen conditions. Only heavier ones are sorted by weight.
    pub(crate) const LIGHT: Self = Self(128);

    /// Returns the least weight of a filter that may take more than `steps` on a document of so many bytes.
    pub(crate) fn above(steps: u64, bytes: usize) -> Self {
        let weight = steps / (bytes as u64 + u64::from(BASE_BYTES)) + 1;
        Self(u32::try_from(weight).unwrap_or(u32::MAX))
    }

    /// Computes the weight of a filter.
    pub(crate) fn of(root: &Node) -> Self {
        let bound = node(root, PATH_STEPS);
        let weight = bound
            .per_byte
            .max(bound.fixed.div_ceil(BASE_BYTES as usize));
        Self(u32::try_from(weight).unwrap_or(u32::MAX))
    }

    /// Returns the most steps that the filter takes on a document of so many bytes.
    pub(crate) fn most_steps(self, bytes: usize) -> u64 {
        u64::from(self.0) * (bytes as u64 + u64::from(BASE_BYTES))
    }
}

/// A bound of steps: `fixed` ones, and `per_byte` for each byte of the document or value.
#[derive(Clone, Copy, Debug, Default)]
struct Bound {
    fixed: usize,
    per_byte: usize,
}

impl Add for Bound {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            fixed: self.fixed.saturating_add(other.fixed),
            per_byte: self.per_byte.saturating_add(other.per_byte),
        }
    }
}

fn sum(bounds: impl Iterator<Item = Bound>) -> Bound {
    bounds.fold(Bound::default(), Bound::add)
}

/// Bounds a condition on a document. `written` is the cost of putting the path of each clause together.
fn node(root: &Node, written: usize) -> Bound {
    match root {
        Node::Always(_) => Bound::default(),
        Node::And(_, nodes) | Node::Or(nodes) | Node::Nor(nodes) => {
            sum(nodes.iter().map(|inner| node(inner, written)))
        }
        Node::Not(_, inner) => node(inner, written),
        Node::Clause(clause) => {
            let mut bound = match &clause.test {
                Test::All(tests) => sum(tests.iter().map(|test| at_path(clause, test))),
                test => at_path(clause, test),
            };
            bound.fixed = bound.fixed.saturating_add(written);
            bound
        }
    }
}

/// Bounds a test of the values at a path. An element takes two bytes or more, a document five.
fn at_path(clause: &Clause, one: &Test) -> Bound {
    let path = clause.path.as_bytes();
    let (components, numbers) = components(path);
    // An element may be reached with this many different rests of the path.
    let rests = numbers + 1;
    let mut element = ELEMENT_STEPS + 1;
    if numbers > 0 {
        element += rests * (ELEMENT_STEPS + rests + 1) + ELEMENT_STEPS;
    }
    let document = path.len() + ELEMENT_STEPS * (rests + 1);
    let shown = test(one);
    let visits = if numbers > 0 { 2 } else { 1 };
    let written = path.len() + ELEMENT_STEPS * components;
    Bound {
        fixed: written.saturating_add(shown.fixed),
        per_byte: element
            .saturating_add(shown.fixed.saturating_mul(visits))
            .div_ceil(2)
            .saturating_add((document.saturating_add(shown.fixed)).div_ceil(5))
            .saturating_add(shown.per_byte.saturating_mul(2 * rests))
            .saturating_add(2),
    }
}

/// Counts the components of a path, and those that may be numbers.
fn components(path: &[u8]) -> (usize, usize) {
    let is_number = |name: &[u8]| name.first().is_some_and(u8::is_ascii_digit);
    if !path.contains(&b'.') {
        return (1, usize::from(is_number(path)));
    }
    let names = path.split(|byte| *byte == b'.');
    names.fold((0, 0), |(all, numbers), name| {
        (all + 1, numbers + usize::from(is_number(name)))
    })
}

/// Bounds a condition on one value.
fn element(root: &Node) -> Bound {
    match root {
        Node::Always(_) => Bound::default(),
        Node::And(_, nodes) | Node::Or(nodes) | Node::Nor(nodes) => sum(nodes.iter().map(element)),
        Node::Not(_, inner) => element(inner),
        Node::Clause(clause) => test(&clause.test),
    }
}

/// Bounds a test of one value, by the value's bytes.
fn test(one: &Test) -> Bound {
    let fixed = |per_byte| Bound {
        fixed: TEST_STEPS,
        per_byte,
    };
    match one {
        Test::Compare(_, operand) => fixed(compared(operand)),
        Test::In(list) => listed(list),
        Test::Exists | Test::Type(_) => fixed(0),
        Test::Mod(_) => fixed(4),
        Test::Size(_) => fixed(1),
        Test::Regex(one) => fixed(0) + pattern(one),
        Test::Bits(bits) => fixed(bit_test(bits)),
        Test::All(tests) => fixed(0) + sum(tests.iter().map(test)),
        Test::ElemMatchDocument(inner) => fixed(0) + members(node(inner, 0), 7),
        Test::ElemMatchValue(inner) => fixed(0) + members(element(inner), 2),
    }
}

/// Bounds a condition on each element of an array, where an element takes `least` bytes or more.
fn members(inner: Bound, least: usize) -> Bound {
    let fixed = inner.fixed.saturating_add(TEST_STEPS);
    Bound {
        fixed: 0,
        per_byte: fixed
            .div_ceil(least)
            .saturating_add(inner.per_byte)
            .saturating_add(TEST_STEPS / 2 + 1),
    }
}

/// Bounds a comparison with an operand, for each byte of the other value. [`at_path`] counts every byte twice, for an
/// array and for its elements. A number is in one of them: it takes ten bytes or more, a decimal eighteen.
fn compared(operand: &Operand) -> usize {
    let value = operand.value();
    match Rank::of(value.kind()) {
        Rank::Document | Rank::Array | Rank::CodeWithScope => NESTED_BYTE_STEPS,
        Rank::Number => match value.kind() {
            ElementType::Decimal128 => DECIMAL_WITH_DOUBLE_STEPS.div_ceil(2 * 10),
            ElementType::Double => DECIMAL_WITH_DOUBLE_STEPS.div_ceil(2 * 18),
            _ => DECIMAL_STEPS.div_ceil(2 * 18),
        },
        _ => 1,
    }
}

fn listed(list: &InList) -> Bound {
    let tries = (list.values.len() + 1).ilog2() as usize + 1;
    let costliest = list.values.iter().map(compared).max().unwrap_or(0);
    let values = Bound {
        fixed: TEST_STEPS + tries * TEST_STEPS,
        per_byte: tries * costliest,
    };
    values + sum(list.patterns.iter().map(pattern))
}

fn pattern(pattern: &Pattern) -> Bound {
    let (fixed, per_byte) = pattern.most_steps();
    Bound {
        fixed: 0,
        // A string takes five bytes besides its letters.
        per_byte: per_byte.saturating_add(fixed.div_ceil(5)),
    }
}

fn bit_test(test: &BitTest) -> usize {
    let positions = match &test.positions {
        Positions::Listed(positions) => positions.len(),
        Positions::Mask(bytes) => bytes.len() * 8,
    };
    positions.div_ceil(5)
}
