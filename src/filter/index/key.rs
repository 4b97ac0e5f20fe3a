//! Numbers that stand for values: a digest that equal values share, and an ordinal that follows their order.
//!
//! Both are coarse on purpose. Different values may share a digest or an ordinal, so a candidate that is found by
//! them is always tried in full. Only the other direction must hold: equal values have one digest, and a value that
//! is not below another has no lower ordinal. Numbers go by the nearest double, which depends on the number alone,
//! whatever its type, and never reverses an order.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::super::compare::Rank;
use super::super::number::Number;
#[cfg(test)]
use super::super::tally;
use super::super::value::{Elements, Value};

/// Most levels of nested values in a digest. Deeper ones do not count.
const MAX_DEPTH: usize = 16;

/// Most bytes in a digest, so that it costs little whatever the value is. Of later bytes only the number counts,
/// and only in a text.
const MAX_BYTES: usize = 4_096;

/// Bytes that a member of a document or an array counts for besides its own.
const MEMBER_BYTES: usize = 64;

/// Mixes `next` into `state`.
pub(super) fn mix(state: u64, next: u64) -> u64 {
    let product =
        u128::from(state ^ 0x9e37_79b9_7f4a_7c15) * u128::from(next ^ 0xe703_7ed1_a0b4_28db);
    fold(product)
}

pub(super) fn bytes_digest(bytes: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(bytes, seed)
}

/// Returns the digest of a value. Values that compare as equal have the same one.
pub(super) fn digest(value: Value<'_>, seed: u64) -> u64 {
    nested_digest(value, seed, 0, &mut MAX_BYTES.clone())
}

/// Returns the digest of a value at a depth. `left` is the number of bytes that may still count.
fn nested_digest(value: Value<'_>, seed: u64, depth: usize, left: &mut usize) -> u64 {
    let rank = Rank::of(value.kind());
    let seed = seed ^ (rank as u64) << 56;
    match rank {
        Rank::Number | Rank::Boolean | Rank::Date | Rank::Timestamp => mix(seed, ordinal(value)),
        Rank::Text | Rank::Code => first_digest(value.text().unwrap_or_default(), seed, left),
        Rank::Document | Rank::Array if depth < MAX_DEPTH => {
            members_digest(value, seed, depth, left)
        }
        Rank::Binary | Rank::ObjectId | Rank::DbPointer => first_digest(value.bytes(), seed, left),
        Rank::Regex => {
            let (pattern, options) = value.regex().unwrap_or_default();
            first_digest(options, first_digest(pattern, seed, left), left)
        }
        _ => seed,
    }
}

/// Returns the digest of as many bytes as may still count, and of their number if some do not.
fn first_digest(bytes: &[u8], seed: u64, left: &mut usize) -> u64 {
    if let Some(after) = left.checked_sub(bytes.len()) {
        *left = after;
        return bytes_digest(bytes, seed);
    }
    let first = bytes.get(..std::mem::take(left)).unwrap_or_default();
    mix(bytes_digest(first, seed), bytes.len() as u64)
}

/// Returns the digest of the members of a document, or of an array, whose names do not count.
fn members_digest(value: Value<'_>, seed: u64, depth: usize, left: &mut usize) -> u64 {
    let named = value.is_document();
    let mut digest = seed;
    for (name, member) in Elements::new(value.bytes()) {
        #[cfg(test)]
        tally::add(1);
        *left = left.saturating_sub(MEMBER_BYTES);
        if *left == 0 {
            break;
        }
        if named {
            digest = first_digest(name, digest, left);
        }
        digest = mix(digest, nested_digest(member, seed, depth + 1, left));
    }
    digest
}

/// Returns a number that orders a value among those of its rank.
pub(super) fn ordinal(value: Value<'_>) -> u64 {
    match Rank::of(value.kind()) {
        Rank::Number => Number::of(value).map_or(0, number_ordinal),
        Rank::Text | Rank::Code => leading(value.text().unwrap_or_default()),
        Rank::ObjectId => leading(value.bytes()),
        Rank::Binary | Rank::DbPointer => value.bytes().len() as u64,
        Rank::Boolean => value
            .bytes()
            .first()
            .map_or(0, |&byte| u64::from(byte != 0)),
        Rank::Date => value
            .fixed()
            .map_or(0, |bytes| u64::from_le_bytes(bytes) ^ SIGN),
        Rank::Timestamp => value.fixed().map_or(0, u64::from_le_bytes),
        _ => 0,
    }
}

const SIGN: u64 = 1 << 63;

/// Orders doubles by their bits. NaN comes first, and both zeros are one.
fn number_ordinal(number: Number) -> u64 {
    let double = number.nearest_double();
    if double.is_nan() {
        return 0;
    }
    let bits = (double + 0.0).to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// Returns the first eight bytes as a number in the order of the bytes.
fn leading(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    let length = bytes.len().min(8);
    first[..length].copy_from_slice(&bytes[..length]);
    u64::from_be_bytes(first)
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves are folded")]
fn fold(product: u128) -> u64 {
    (product as u64) ^ (product >> 64) as u64
}
