//! IEEE 754 Decimal128 as BSON stores it (binary integer coding), decoded for comparison.

use std::cmp::Ordering;

use super::big::Big;

/// The largest coefficient of 34 digits. A larger one is not canonical and reads as zero.
const MAX_COEFFICIENT: u128 = 9_999_999_999_999_999_999_999_999_999_999_999;
const EXPONENT_BIAS: i32 = 6176;

/// A decoded Decimal128.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Decimal {
    /// Any NaN.
    NaN,
    /// An infinity.
    Infinite {
        /// True for minus infinity.
        negative: bool,
    },
    /// A finite number.
    Finite(Finite),
}

/// `coefficient × 10^exponent`, with a sign.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finite {
    negative: bool,
    coefficient: u128,
    exponent: i32,
}

impl Decimal {
    /// Decodes the 16 little-endian bytes of a BSON Decimal128.
    pub(crate) fn decode(bytes: [u8; 16]) -> Self {
        let bits = u128::from_le_bytes(bytes);
        let negative = bits >> 127 == 1;
        match (bits >> 122) & 0b1_1111 {
            0b1_1111 => return Self::NaN,
            0b1_1110 => return Self::Infinite { negative },
            _ => {}
        }
        // A combination field that begins with 11 announces a coefficient above the maximum.
        let large = (bits >> 125) & 0b11 == 0b11;
        let biased = if large { bits >> 111 } else { bits >> 113 } & 0x3fff;
        let coefficient = bits & ((1 << 113) - 1);
        let canonical = !large && coefficient <= MAX_COEFFICIENT;
        Self::Finite(Finite {
            negative,
            coefficient: if canonical { coefficient } else { 0 },
            exponent: i32::try_from(biased).unwrap_or(0) - EXPONENT_BIAS,
        })
    }

    /// Compares two decimals that are not NaN.
    pub(crate) fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Finite(a), Self::Finite(b)) => a.compare(b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }

    /// Compares the decimal with a double, neither of them NaN.
    pub(crate) fn compare_double(self, double: f64) -> Ordering {
        match self {
            Self::Finite(finite) if double.is_finite() => finite.compare_double(double),
            Self::Finite(_) if double > 0.0 => Ordering::Less,
            Self::Finite(_) => Ordering::Greater,
            _ if double.is_infinite() => self.rank().cmp(&if double > 0.0 { 1 } else { -1 }),
            _ => self.rank().cmp(&0),
        }
    }

    /// Truncates to an integer, if it fits 64 bits.
    pub(crate) fn truncated(self) -> Option<i64> {
        match self {
            Self::Finite(finite) => finite.truncated(),
            _ => None,
        }
    }

    /// Rounds to the nearest integer, ties to even, if it fits 64 bits.
    pub(crate) fn rounded(self) -> Option<i64> {
        match self {
            Self::Finite(finite) => finite.rounded(),
            _ => None,
        }
    }

    pub(crate) fn nearest_double(self) -> f64 {
        match self {
            Self::NaN => f64::NAN,
            Self::Infinite { negative: true } => f64::NEG_INFINITY,
            Self::Infinite { negative: false } => f64::INFINITY,
            Self::Finite(finite) => finite.nearest_double(),
        }
    }

    fn rank(self) -> i8 {
        match self {
            Self::Infinite { negative: true } => -1,
            Self::Infinite { negative: false } => 1,
            Self::NaN | Self::Finite(_) => 0,
        }
    }
}

impl Finite {
    /// Makes a decimal of an integer.
    pub(crate) fn from_int(int: i64) -> Self {
        Self {
            negative: int < 0,
            coefficient: int.unsigned_abs().into(),
            exponent: 0,
        }
    }

    /// Returns the nearest double, by way of text: parsing decimal text rounds correctly for any number of digits.
    fn nearest_double(self) -> f64 {
        let size: f64 = format!("{}e{}", self.coefficient, self.exponent)
            .parse()
            .unwrap_or(0.0);
        if self.negative { -size } else { size }
    }

    fn signum(self) -> i8 {
        match (self.coefficient, self.negative) {
            (0, _) => 0,
            (_, true) => -1,
            (_, false) => 1,
        }
    }

    fn compare(self, other: Self) -> Ordering {
        let signs = self.signum().cmp(&other.signum());
        if signs.is_ne() || self.signum() == 0 {
            return signs;
        }
        let sizes = self.compare_size(other);
        if self.negative {
            sizes.reverse()
        } else {
            sizes
        }
    }

    /// Compares the sizes of two numbers that are not zero.
    fn compare_size(self, other: Self) -> Ordering {
        if self.exponent < other.exponent {
            return other.compare_size(self).reverse();
        }
        let shift = self.exponent.abs_diff(other.exponent);
        let scaled = 10_u128
            .checked_pow(shift)
            .and_then(|ten| self.coefficient.checked_mul(ten));
        // A product that does not fit 128 bits is larger than any coefficient.
        scaled.map_or(Ordering::Greater, |scaled| scaled.cmp(&other.coefficient))
    }

    fn compare_double(self, double: f64) -> Ordering {
        let sign: i8 = match double.partial_cmp(&0.0) {
            Some(Ordering::Less) => -1,
            Some(Ordering::Greater) => 1,
            _ => 0,
        };
        let signs = self.signum().cmp(&sign);
        if signs.is_ne() || sign == 0 {
            return signs;
        }
        let sizes = self.compare_double_size(double.abs());
        if self.negative {
            sizes.reverse()
        } else {
            sizes
        }
    }

    /// Compares the size of a number that is not zero with a finite double above zero.
    fn compare_double_size(self, double: f64) -> Ordering {
        // First by the power of ten, which the double's logarithm yields with an error of one at most. Only numbers of
        // about the same size are left to compare exactly.
        let digits = i32::try_from(self.coefficient.ilog10()).unwrap_or(0);
        let difference = self.exponent + digits - power_of_ten(double);
        if difference.abs() > 1 {
            return difference.cmp(&0);
        }
        let (mantissa, binary_exponent) = split_double(double);
        let mut ours = Big::from(self.coefficient);
        let mut theirs = Big::from(u128::from(mantissa));
        let tens = self.exponent.unsigned_abs();
        let twos = binary_exponent.unsigned_abs();
        if self.exponent >= 0 {
            ours.times_ten_to(tens);
        } else {
            theirs.times_ten_to(tens);
        }
        if binary_exponent >= 0 {
            theirs.times_two_to(twos);
        } else {
            ours.times_two_to(twos);
        }
        ours.compare(&theirs)
    }

    fn truncated(self) -> Option<i64> {
        self.divide().and_then(|(whole, _)| self.signed(whole))
    }

    fn rounded(self) -> Option<i64> {
        let (whole, fraction) = self.divide()?;
        let up = fraction.is_gt() || (fraction.is_eq() && whole % 2 == 1);
        self.signed(whole + u128::from(up))
    }

    /// Truncates the size to an integer. Returns also how the fraction compares with one half.
    fn divide(self) -> Option<(u128, Ordering)> {
        let ten = 10_u128.checked_pow(self.exponent.unsigned_abs());
        match ten {
            Some(ten) if self.exponent < 0 => {
                let fraction = self.coefficient % ten;
                Some((self.coefficient / ten, (fraction * 2).cmp(&ten)))
            }
            Some(ten) => Some((self.coefficient.checked_mul(ten)?, Ordering::Less)),
            // Below 10^-4, or zero.
            None if self.exponent < 0 || self.coefficient == 0 => Some((0, Ordering::Less)),
            None => None,
        }
    }

    fn signed(self, size: u128) -> Option<i64> {
        let size = i128::try_from(size).ok()?;
        i64::try_from(if self.negative { -size } else { size }).ok()
    }
}

/// Returns the largest power of ten that is not above a finite positive double, or one next to it.
#[expect(clippy::cast_possible_truncation, reason = "between -324 and 308")]
fn power_of_ten(double: f64) -> i32 {
    double.log10().floor() as i32
}

/// Splits a finite positive double into `mantissa × 2^exponent`.
fn split_double(double: f64) -> (u64, i32) {
    let bits = double.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    let exponent = i32::try_from((bits >> 52) & 0x7ff).unwrap_or(0);
    if exponent == 0 {
        (fraction, -1074)
    } else {
        (fraction | (1 << 52), exponent - 1075)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    #[track_caller]
    fn check(decimal: &str, double: f64, expected: Ordering) {
        let decimal = bson::Decimal128::from_str(decimal).unwrap();
        let order = Decimal::decode(decimal.bytes()).compare_double(double);
        assert_eq!(order, expected, "{decimal} with {double}");
    }

    #[test]
    fn decimals_far_from_a_double_compare_by_size() {
        check("1E-320", 1e308, Ordering::Less);
        check("1E+6111", f64::MAX, Ordering::Greater);
        check("1E-6176", 5e-324, Ordering::Less);
        check("-1E+6111", -1.0, Ordering::Less);
        check(
            "9999999999999999999999999999999999E-340",
            1e-306,
            Ordering::Less,
        );
    }

    #[test]
    fn decimals_near_a_double_compare_exactly() {
        check("0.1", 0.1, Ordering::Less);
        check("0.5", 0.5, Ordering::Equal);
        check("-0", 0.0, Ordering::Equal);
        check(
            "9007199254740993",
            9_007_199_254_740_992.0,
            Ordering::Greater,
        );
        check(
            "1.797693134862315708145274237317043E+308",
            f64::MAX,
            Ordering::Less,
        );
        check(
            "1.797693134862315708145274237317044E+308",
            f64::MAX,
            Ordering::Greater,
        );
        check(
            "4.940656458412465441765687928682213E-324",
            5e-324,
            Ordering::Less,
        );
        check(
            "4.940656458412465441765687928682214E-324",
            5e-324,
            Ordering::Greater,
        );
    }
}
