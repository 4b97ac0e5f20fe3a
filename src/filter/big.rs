//! An unsigned integer wide enough to compare any double with any Decimal128 of its size.

use std::cmp::Ordering;

/// The widest product compared is `2^53 × 10^358`, or `10^34 × 2^1074`: below 1,280 bits.
const LIMBS: usize = 24;

/// Little-endian limbs.
#[derive(Clone, Debug)]
pub(super) struct Big([u64; LIMBS]);

impl Big {
    /// Multiplies by `10^power`.
    pub(super) fn times_ten_to(&mut self, mut power: u32) {
        while power > 0 {
            let step = power.min(19);
            self.times(10_u64.pow(step));
            power -= step;
        }
    }

    /// Multiplies by `2^power`.
    pub(super) fn times_two_to(&mut self, mut power: u32) {
        while power > 0 {
            let step = power.min(63);
            self.times(1 << step);
            power -= step;
        }
    }

    /// Orders two integers.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        self.0.iter().rev().cmp(other.0.iter().rev())
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the two halves are kept apart"
    )]
    fn times(&mut self, factor: u64) {
        let mut carry = 0;
        for limb in &mut self.0 {
            let product = u128::from(*limb) * u128::from(factor) + carry;
            *limb = product as u64;
            carry = product >> 64;
        }
        debug_assert_eq!(carry, 0, "wide enough for every comparison");
    }
}

impl From<u128> for Big {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the two halves are kept apart"
    )]
    fn from(value: u128) -> Self {
        let mut limbs = [0; LIMBS];
        limbs[0] = value as u64;
        limbs[1] = (value >> 64) as u64;
        Self(limbs)
    }
}
