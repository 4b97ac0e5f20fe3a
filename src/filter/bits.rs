//! The bit tests on numbers and binary data.

use bson::spec::ElementType;

use super::ast::{BitOperator, BitTest, Positions};
use super::number::Number;
use super::value::Value;

impl BitTest {
    /// Returns the most steps of a test of a value.
    pub(super) fn cost(&self, value: Value<'_>) -> usize {
        match &self.positions {
            _ if value.kind() != ElementType::Binary => 0,
            Positions::Listed(positions) => positions.len(),
            Positions::Mask(bytes) => bytes.len() * 8,
        }
    }

    /// Whether a number or binary data passes the test.
    pub(super) fn holds(&self, value: Value<'_>) -> bool {
        if let Some((_, data)) = value.binary() {
            return self.holds_for_data(data);
        }
        let number = Number::of(value).and_then(Number::bits);
        number.is_some_and(|bits| self.holds_for_number(bits))
    }

    fn holds_for_number(&self, bits: u64) -> bool {
        let set = bits & self.mask;
        match self.operator {
            BitOperator::AllSet => set == self.mask,
            BitOperator::AnySet => set != 0,
            BitOperator::AllClear => set == 0,
            BitOperator::AnyClear => set != self.mask,
        }
    }

    /// Whether binary data passes the test. Bits beyond its end count as zeros.
    fn holds_for_data(&self, data: &[u8]) -> bool {
        let is_set = |position: u32| {
            let byte = data.get(position as usize / 8).copied().unwrap_or(0);
            byte & (1 << (position % 8)) != 0
        };
        match self.operator {
            BitOperator::AllSet => self.positions.all(is_set),
            BitOperator::AnySet => !self.positions.all(|position| !is_set(position)),
            BitOperator::AllClear => self.positions.all(|position| !is_set(position)),
            BitOperator::AnyClear => !self.positions.all(is_set),
        }
    }
}

impl BitOperator {
    /// Returns the operator's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::AllSet => "$bitsAllSet",
            Self::AnySet => "$bitsAnySet",
            Self::AllClear => "$bitsAllClear",
            Self::AnyClear => "$bitsAnyClear",
        }
    }
}

impl Positions {
    fn all(&self, pass: impl Fn(u32) -> bool) -> bool {
        match self {
            Self::Listed(positions) => positions.iter().all(|&position| pass(position)),
            Self::Mask(bytes) => (0_u32..).zip(bytes.iter()).all(|(index, byte)| {
                (0..8)
                    .filter(|bit| byte & (1 << bit) != 0)
                    .all(|bit| pass(index * 8 + bit))
            }),
        }
    }

    /// Returns the mask for numbers: a number's sign stands for all of its bits above the 63rd.
    pub(super) fn number_mask(&self) -> u64 {
        match self {
            Self::Listed(positions) => positions
                .iter()
                .fold(0, |mask, &position| mask | 1 << position.min(63)),
            Self::Mask(bytes) => (0_u32..).zip(bytes.iter()).fold(0, |mask, (index, &byte)| {
                mask | match index {
                    0..8 => u64::from(byte) << (index * 8),
                    _ if byte != 0 => 1 << 63,
                    _ => 0,
                }
            }),
        }
    }
}
