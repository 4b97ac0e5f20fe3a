//! A filter in compiled form.
//!
//! The tree follows the filter as it was written, so that an explanation can point into it, and
//! is packed tightly: a node holds a million of them.

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
    /// Every node must hold; none at all holds.
    And(Conjunction, Box<[Node]>),
    /// `$or`: at least one must hold.
    Or(Box<[Node]>),
    /// `$nor`: none may hold.
    Nor(Box<[Node]>),
    /// The node must not hold.
    Not(Negation, Box<Node>),
    /// A test on the values at a path.
    Clause(Clause),
}

/// How a conjunction was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Conjunction {
    /// The members of one document, or the operators of one field.
    Implicit,
    /// `$and`.
    Operator,
}

/// How a negation was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Negation {
    /// `$not`.
    Not,
    /// `$ne`: the node is the equality.
    Ne,
    /// `$nin`: the node is the `$in`.
    Nin,
    /// `{$exists: false}`: the node is the existence.
    Absent,
}

/// A test on the values that a path leads to. It holds if any of those values passes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Clause {
    /// Where to look. Empty and without meaning inside `$elemMatch` on values.
    pub(crate) path: Path,
    /// What to look for.
    pub(crate) test: Test,
    /// Whether the test stood without an operator, as in `{a: 1}` or `{a: /x/}`.
    pub(crate) implicit: bool,
}

/// A dotted path, as written.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Path(Packed);

impl Path {
    /// The path `text`.
    pub(crate) fn new(text: &str) -> Self {
        Self(Packed::new(&[text.as_bytes()]))
    }

    /// The path as written.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The bytes of the path as written.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Test {
    /// A comparison with one operand.
    Compare(Comparison, Operand),
    /// `$in`.
    In(Box<List>),
    /// `$exists: true`: any value.
    Exists,
    /// `$type`.
    Type(Types),
    /// `$regex`, or a regular expression in place of a value.
    Regex(Pattern),
    /// `$mod`.
    Mod(Box<Modulo>),
    /// `$size`: an array of so many elements.
    Size(u32),
    /// The four bit tests.
    Bits(Box<BitTest>),
    /// `$elemMatch` with a query: an array with an element, itself a document or an array, that
    /// meets the condition.
    ElemMatchDocument(Box<Node>),
    /// `$elemMatch` with operators: an array with an element that meets the condition.
    ElemMatchValue(Box<Node>),
    /// `$all`: each test is passed by some value at the path, and there is at least one test.
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
pub(crate) struct List {
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
    /// What to divide by; never zero.
    pub(crate) divisor: i64,
    /// What must be left.
    pub(crate) remainder: i64,
}

/// A test of single bits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BitTest {
    /// Which of them must be how.
    pub(crate) operator: BitOperator,
    /// The bits, as a number is tested. Every bit above the 63rd is a number's sign.
    pub(crate) mask: u64,
    /// The bits, as binary data is tested.
    pub(crate) positions: Positions,
}

/// The positions of bits; the lowest bit of the first byte is at 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Positions {
    /// Those listed.
    Listed(Box<[u32]>),
    /// Those set in these bytes.
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
    /// A copy of `value`.
    pub(crate) fn new(value: Value<'_>) -> Self {
        Self(Packed::new(&[&[value.kind() as u8], value.bytes()]))
    }

    /// The value.
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
