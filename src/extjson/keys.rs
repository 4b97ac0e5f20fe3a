//! The keys of a document that were seen before. If several fields have one name, the first counts, as in a
//! query.

use std::collections::HashSet;

use smallvec::SmallVec;

/// Most keys for which comparing them one by one is cheaper than a table.
const FEW_KEYS: usize = 32;

/// The keys of one document that were seen so far.
#[derive(Debug, Default)]
pub(crate) struct SeenKeys<'a> {
    /// A bit for each kind of key seen. Nearly every key differs from all others in its bit.
    bits: u64,
    few: SmallVec<[&'a str; FEW_KEYS]>,
    many: Option<HashSet<&'a str>>,
}

impl<'a> SeenKeys<'a> {
    /// Whether the key comes for the first time.
    pub(crate) fn is_first(&mut self, key: &'a str) -> bool {
        let bit = bit(key);
        let fresh = self.bits & bit == 0;
        self.bits |= bit;
        if self.few.len() < FEW_KEYS {
            let first = fresh || !self.few.contains(&key);
            if first {
                self.few.push(key);
            }
            return first;
        }
        !self.few.contains(&key) && self.many.get_or_insert_default().insert(key)
    }
}

/// Chooses one of 64 bits by the length of a key and its first, middle and last byte.
fn bit(key: &str) -> u64 {
    let bytes = key.as_bytes();
    let byte = |at: Option<&u8>| at.map_or(0, |byte| u32::from(*byte));
    let (first, last) = (byte(bytes.first()), byte(bytes.last()));
    let middle = byte(bytes.get(bytes.len() / 2));
    let mixed = first
        .wrapping_mul(5)
        .wrapping_add(last.wrapping_mul(11))
        .wrapping_add(middle.wrapping_mul(17))
        .wrapping_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    1 << (mixed % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_first_once_among_few_and_among_many() {
        let names: Vec<_> = (0..1_000).map(|n| format!("key{n}")).collect();
        let mut keys = SeenKeys::default();
        for (at, name) in names.iter().enumerate() {
            assert!(keys.is_first(name), "{name}");
            assert!(!keys.is_first(&names[at / 2]), "{name}");
            assert!(!keys.is_first(name), "{name}");
        }
        assert!(keys.is_first("") && !keys.is_first(""));
    }
}
