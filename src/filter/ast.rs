//! A filter in parsed form.
//!
//! The tree follows the filter as written, so that an explanation can point into it.

use std::fmt;

use bson::spec::ElementType;

use super::packed::Packed;
use super::pattern::Pattern;
use super::value::Value;

/// A condition on a document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Node {
    /// `$alwaysTrue` or `$alwaysFalse`.
    Always(bool),
    /// All of these must hold. An empty conjunction holds.
    And(AndSyntax, Box<[Node]>),
    /// `$or`: at least one of these must hold.
    Or(Box<[Node]>),
    /// `$nor`: none of these may hold.
    Nor(Box<[Node]>),
    /// A condition that must not hold.
    Not(NotSyntax, Box<Node>),
    /// A test on the values at a path.
    Clause(Clause),
}

/// The spelling of a conjunction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AndSyntax {
    /// The members of one document, or the operators of one field.
    Implicit,
    /// `$and`.
    Operator,
}

/// The spelling of a negation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum NotSyntax {
    /// `$not`.
    Not,
    /// `$ne`: the negated condition is the equality.
    Ne,
    /// `$nin`: the negated condition is the `$in`.
    Nin,
    /// `{$exists: false}`: the negated condition is the existence.
    Absent,
}

/// A test on the values that a path leads to. It holds if any of those values passes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Clause {
    /// The path to the values. Empty and without meaning inside `$elemMatch` on values.
    pub(crate) path: Path,
    /// The test of each value.
    pub(crate) test: Test,
    /// True if the test was written without an operator, as in `{a: 1}` or `{a: /x/}`.
    pub(crate) implicit: bool,
}

/// A dotted path, as written.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Path(Packed);

impl Path {
    /// Makes the path `text`.
    pub(crate) fn new(text: &str) -> Self {
        Self(Packed::new(&[text.as_bytes()]))
    }

    /// Returns the path as written.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Returns the bytes of the path as written.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A test of one value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Test {
    /// A comparison with one operand.
    Compare(Comparison, Operand),
    /// `$in`.
    In(Box<InList>),
    /// `$exists: true`: any value.
    Exists,
    /// `$type`.
    Type(Types),
    /// `$regex`, or a regular expression in place of a value.
    Regex(Pattern),
    /// `$mod`.
    Mod(Box<Modulo>),
    /// `$size`: an array of this many elements.
    Size(u32),
    /// The four bit tests.
    Bits(Box<BitTest>),
    /// `$elemMatch` with a query: an array with an element that is a document or an array and meets the condition.
    ElemMatchDocument(Box<Node>),
    /// `$elemMatch` with operators: an array with an element that meets the condition.
    ElemMatchValue(Box<Node>),
    /// `$all`: for each test, some value at the path passes it. An empty `$all` matches nothing.
    All(Box<[Test]>),
}

/// The comparison operators. Each compares within the operand's own kind only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Comparison {
    /// `$eq`, or a plain value.
    Eq,
    /// `$gt`.
    Gt,
    /// `$gte`.
    Gte,
    /// `$lt`.
    Lt,
    /// `$lte`.
    Lte,
}

/// The values and patterns of an `$in`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InList {
    /// The values in MongoDB's order, each once.
    pub(crate) values: Box<[Operand]>,
    /// The regular expressions.
    pub(crate) patterns: Box<[Pattern]>,
}

/// A set of BSON types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Types(u32);

impl Types {
    /// Adds a type.
    pub(crate) fn insert(&mut self, kind: ElementType) {
        self.0 |= Self::bit(kind);
    }

    /// Whether the type is in the set.
    pub(crate) fn contains(self, kind: ElementType) -> bool {
        self.0 & Self::bit(kind) != 0
    }

    /// Whether no type is in the set.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn bit(kind: ElementType) -> u32 {
        match kind {
            ElementType::MinKey => 1,
            ElementType::MaxKey => 1 << 31,
            other => 1 << (other as u32),
        }
    }
}

/// The remainder of a division, as in `$mod`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Modulo {
    /// The divisor, which is not zero.
    pub(crate) divisor: i64,
    /// The remainder that must be left.
    pub(crate) remainder: i64,
}

/// A test of single bits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BitTest {
    /// The operator, which says how many of the bits must be set or clear.
    pub(crate) operator: BitOperator,
    /// The bits of a number. Every bit above the 63rd is the number's sign.
    pub(crate) mask: u64,
    /// The bits of binary data.
    pub(crate) positions: Positions,
}

/// The positions of bits; the lowest bit of the first byte is at 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Positions {
    /// Listed positions.
    Listed(Box<[u32]>),
    /// The positions of the bits that are set in these bytes.
    Mask(Box<[u8]>),
}

/// The four bit tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BitOperator {
    /// `$bitsAllSet`
    AllSet,
    /// `$bitsAnySet`
    AnySet,
    /// `$bitsAllClear`
    AllClear,
    /// `$bitsAnyClear`
    AnyClear,
}

/// An owned value: a byte for its type, then its bytes as in BSON.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Operand(Packed);

impl Operand {
    /// Copies `value`.
    pub(crate) fn new(value: Value<'_>) -> Self {
        Self(Packed::new(&[&[value.kind() as u8], value.bytes()]))
    }

    pub(crate) fn value(&self) -> Value<'_> {
        let (tag, bytes) = self.0.bytes().split_first().unwrap_or((&0, &[]));
        Value::new(ElementType::from(*tag).unwrap_or(ElementType::Null), bytes)
    }
}

impl fmt::Debug for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.value(), f)
    }
}
