//! MongoDB's order of BSON values.
//!
//! Values of different kinds are ordered by kind, values of one kind by content. Several types
//! share a kind: the four numbers, and strings with symbols. See "Comparison/Sort Order" in
//! MongoDB's manual.

use std::cmp::Ordering;

use bson::spec::ElementType;

use super::number::Number;
use super::value::{Elements, Value};

/// The rank of a type in MongoDB's order. Types that compare with one another share a rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Rank {
    /// `MinKey`.
    MinKey,
    /// Undefined, and a missing value.
    Absent,
    /// Null.
    Null,
    /// int32, int64, double, Decimal128.
    Number,
    /// Strings and symbols.
    Text,
    /// Embedded documents.
    Document,
    /// Arrays.
    Array,
    /// Binary data.
    Binary,
    /// Object ids.
    ObjectId,
    /// Booleans.
    Boolean,
    /// Dates.
    Date,
    /// Timestamps.
    Timestamp,
    /// Regular expressions as values.
    Regex,
    /// Database pointers.
    DbPointer,
    /// JavaScript code.
    Code,
    /// JavaScript code with a scope.
    CodeWithScope,
    /// `MaxKey`.
    MaxKey,
}

impl Rank {
    /// Returns the rank of a type.
    pub(crate) fn of(kind: ElementType) -> Self {
        match kind {
            ElementType::MinKey => Self::MinKey,
            ElementType::Undefined => Self::Absent,
            ElementType::Null => Self::Null,
            ElementType::Int32
            | ElementType::Int64
            | ElementType::Double
            | ElementType::Decimal128 => Self::Number,
            ElementType::String | ElementType::Symbol => Self::Text,
            ElementType::EmbeddedDocument => Self::Document,
            ElementType::Array => Self::Array,
            ElementType::Binary => Self::Binary,
            ElementType::ObjectId => Self::ObjectId,
            ElementType::Boolean => Self::Boolean,
            ElementType::DateTime => Self::Date,
            ElementType::Timestamp => Self::Timestamp,
            ElementType::RegularExpression => Self::Regex,
            ElementType::DbPointer => Self::DbPointer,
            ElementType::JavaScriptCode => Self::Code,
            ElementType::JavaScriptCodeWithScope => Self::CodeWithScope,
            ElementType::MaxKey => Self::MaxKey,
        }
    }
}

/// Orders any two values: by rank, then by content.
///
/// The recursion is as deep as the shallower value.
pub(crate) fn compare(a: Value<'_>, b: Value<'_>) -> Ordering {
    let rank = Rank::of(a.kind());
    rank.cmp(&Rank::of(b.kind()))
        .then_with(|| compare_within(rank, a, b))
}

/// Returns the most steps that it takes to compare two values.
pub(crate) fn cost(a: Value<'_>, b: Value<'_>) -> usize {
    let shorter = a.bytes().len().min(b.bytes().len());
    match Rank::of(a.kind()) {
        rank if rank != Rank::of(b.kind()) => 0,
        Rank::Document | Rank::Array | Rank::CodeWithScope => shorter * NESTED_BYTE_STEPS,
        Rank::Number => match (a.kind(), b.kind()) {
            (ElementType::Decimal128, ElementType::Double)
            | (ElementType::Double, ElementType::Decimal128) => DECIMAL_WITH_DOUBLE_STEPS,
            (ElementType::Decimal128, _) | (_, ElementType::Decimal128) => DECIMAL_STEPS,
            _ => 0,
        },
        _ => shorter / 8,
    }
}

/// The steps for a byte of two documents, whose elements take two bytes or more.
pub(super) const NESTED_BYTE_STEPS: usize = 8;
/// The steps to compare a decimal with a number that is not a double.
pub(super) const DECIMAL_STEPS: usize = 60;
/// The steps to compare a decimal with a double: both become integers of a thousand bits.
pub(super) const DECIMAL_WITH_DOUBLE_STEPS: usize = 600;

fn compare_within(rank: Rank, a: Value<'_>, b: Value<'_>) -> Ordering {
    match rank {
        Rank::MinKey | Rank::Absent | Rank::Null | Rank::MaxKey => Ordering::Equal,
        Rank::Number => compare_numbers(a, b),
        Rank::Text | Rank::Code => a.text().cmp(&b.text()),
        Rank::Document | Rank::Array => compare_documents(a.bytes(), b.bytes()),
        Rank::ObjectId => a.bytes().cmp(b.bytes()),
        Rank::Boolean => is_true(a).cmp(&is_true(b)),
        Rank::Date => a
            .fixed()
            .map(i64::from_le_bytes)
            .cmp(&b.fixed().map(i64::from_le_bytes)),
        Rank::Timestamp => a
            .fixed()
            .map(u64::from_le_bytes)
            .cmp(&b.fixed().map(u64::from_le_bytes)),
        Rank::Regex => a.regex().cmp(&b.regex()),
        Rank::Binary | Rank::DbPointer => by_length(a.bytes(), b.bytes()),
        Rank::CodeWithScope => compare_scoped(a, b),
    }
}

fn compare_numbers(a: Value<'_>, b: Value<'_>) -> Ordering {
    match (Number::of(a), Number::of(b)) {
        (Some(a), Some(b)) => a.compare(b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// Compares documents element by element: kind, then name, then value; a prefix comes first. Arrays are compared in the
/// same way, since the names of their elements are indexes.
fn compare_documents(a: &[u8], b: &[u8]) -> Ordering {
    let (mut a, mut b) = (Elements::new(a), Elements::new(b));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => compare_fields(a, b),
        };
        if order.is_ne() {
            return order;
        }
    }
}

fn compare_fields((a_name, a): (&[u8], Value<'_>), (b_name, b): (&[u8], Value<'_>)) -> Ordering {
    let rank = Rank::of(a.kind());
    rank.cmp(&Rank::of(b.kind()))
        .then_with(|| a_name.cmp(b_name))
        .then_with(|| compare_within(rank, a, b))
}

/// Compares binary data and its like: by length, then subtype, then bytes.
fn by_length(a: &[u8], b: &[u8]) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn is_true(value: Value<'_>) -> bool {
    value.bytes().first().is_some_and(|&byte| byte != 0)
}

fn compare_scoped(a: Value<'_>, b: Value<'_>) -> Ordering {
    let ((a_code, a_scope), (b_code, b_scope)) = (split_scoped(a), split_scoped(b));
    a_code
        .cmp(b_code)
        .then_with(|| compare_documents(a_scope, b_scope))
}

/// Splits code from its scope. The lengths were checked when the value was cut.
fn split_scoped(value: Value<'_>) -> (&[u8], &[u8]) {
    let inner = value.bytes().get(4..).unwrap_or_default();
    let length = inner
        .get(..4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_le_bytes);
    let end = (length as usize).saturating_add(4);
    let code = inner.get(4..end.saturating_sub(1)).unwrap_or_default();
    (code, inner.get(end..).unwrap_or_default())
}
