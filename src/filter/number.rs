//! Exact comparison of BSON's four number types.
//!
//! No comparison converts a number with loss: 2^53+1 is not 2^53, and the decimal 0.1 is not the double 0.1. NaN equals
//! NaN and sorts below every other number, as in MongoDB's order.

use std::cmp::Ordering;

use bson::spec::ElementType;

use super::decimal::{Decimal, Finite};
use super::value::Value;

/// A BSON number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    /// An int32 or an int64.
    Int(i64),
    /// A double.
    Double(f64),
    /// A Decimal128.
    Decimal(Decimal),
}

impl Number {
    /// Reads the number in `value`, if it is of a numeric type.
    pub(crate) fn of(value: Value<'_>) -> Option<Self> {
        match value.kind() {
            ElementType::Int32 => value
                .fixed()
                .map(|b| Self::Int(i32::from_le_bytes(b).into())),
            ElementType::Int64 => value.fixed().map(|b| Self::Int(i64::from_le_bytes(b))),
            ElementType::Double => value.fixed().map(|b| Self::Double(f64::from_le_bytes(b))),
            ElementType::Decimal128 => value.fixed().map(|b| Self::Decimal(Decimal::decode(b))),
            _ => None,
        }
    }

    /// Whether it is a NaN, as a double or a decimal.
    pub(crate) fn is_nan(self) -> bool {
        match self {
            Self::Int(_) => false,
            Self::Double(double) => double.is_nan(),
            Self::Decimal(decimal) => matches!(decimal, Decimal::NaN),
        }
    }

    /// Compares in MongoDB's order of numbers: total, with NaN first and both zeros equal.
    pub(crate) fn compare(self, other: Self) -> Ordering {
        match (self.is_nan(), other.is_nan()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(&b),
            (Self::Double(a), Self::Double(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            (Self::Int(a), Self::Double(b)) => int_with_double(a, b),
            (Self::Double(a), Self::Int(b)) => int_with_double(b, a).reverse(),
            (Self::Decimal(a), b) => decimal_with(a, b),
            (a, Self::Decimal(b)) => decimal_with(b, a).reverse(),
        }
    }

    /// Truncates to an integer, if it fits 64 bits; `None` for NaN and the infinities.
    pub(crate) fn truncated(self) -> Option<i64> {
        match self {
            Self::Int(int) => Some(int),
            Self::Double(double) => double_to_int(double.trunc()),
            Self::Decimal(decimal) => decimal.truncated(),
        }
    }

    /// Returns the nearest double. Equal numbers have the same one, and rounding reverses no order.
    #[expect(clippy::cast_precision_loss, reason = "rounding is what is asked for")]
    pub(crate) fn nearest_double(self) -> f64 {
        match self {
            Self::Int(int) => int as f64,
            Self::Double(double) => double,
            Self::Decimal(decimal) => decimal.nearest_double(),
        }
    }

    /// Returns the 64 bits that a bit test sees, in two's complement. A double must be an integer. A decimal is rounded
    /// to the nearest integer, and counts as the least one if that is too large.
    pub(crate) fn bits(self) -> Option<u64> {
        let int = match self {
            Self::Int(int) => int,
            Self::Double(_) => self.exact_int()?,
            Self::Decimal(decimal) => decimal.rounded().unwrap_or(i64::MIN),
        };
        Some(int.cast_unsigned())
    }

    /// Returns the integer that the number is exactly, if it is one of 64 bits.
    pub(crate) fn exact_int(self) -> Option<i64> {
        let int = self.truncated()?;
        (Self::Int(int).compare(self) == Ordering::Equal).then_some(int)
    }
}

/// 2^63: the first double above every int64. Its negative is the least int64.
const TWO_63: f64 = 9_223_372_036_854_775_808.0;

#[expect(
    clippy::cast_possible_truncation,
    reason = "the range is checked first"
)]
fn double_to_int(whole: f64) -> Option<i64> {
    (-TWO_63..TWO_63).contains(&whole).then_some(whole as i64)
}

fn int_with_double(int: i64, double: f64) -> Ordering {
    if double >= TWO_63 {
        return Ordering::Less;
    }
    let Some(whole) = double_to_int(double.trunc()) else {
        return Ordering::Greater;
    };
    let fraction = double - double.trunc();
    int.cmp(&whole)
        .then_with(|| 0.0_f64.partial_cmp(&fraction).unwrap_or(Ordering::Equal))
}

fn decimal_with(decimal: Decimal, other: Number) -> Ordering {
    match other {
        Number::Int(int) => decimal.compare(Decimal::Finite(Finite::from_int(int))),
        Number::Double(double) => decimal.compare_double(double),
        Number::Decimal(other) => decimal.compare(other),
    }
}
