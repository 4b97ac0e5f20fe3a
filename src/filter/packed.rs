//! Immutable bytes, stored inline if they are few.
//!
//! Most paths and operands are short. A million filters with an allocation for each would spend
//! more on the allocator than on the filters.

/// Most bytes that fit without an allocation.
const INLINE_BYTES: usize = 22;

/// A byte string in 24 bytes, with an allocation only if it is longer than 22.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Packed {
    /// A length, and that many bytes.
    Inline(u8, [u8; INLINE_BYTES]),
    /// All bytes.
    Heap(Box<[u8]>),
}

impl Packed {
    /// Copies `parts`, one after the other.
    pub(super) fn new(parts: &[&[u8]]) -> Self {
        let length = parts.iter().map(|part| part.len()).sum();
        let mut inline = [0; INLINE_BYTES];
        match (u8::try_from(length), inline.get_mut(..length)) {
            (Ok(length), Some(mut room)) => {
                for part in parts {
                    let (here, rest) = room.split_at_mut(part.len());
                    here.copy_from_slice(part);
                    room = rest;
                }
                Self::Inline(length, inline)
            }
            _ => Self::Heap(parts.concat().into()),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline(length, bytes) => &bytes[..usize::from(*length)],
            Self::Heap(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_bytes_come_back() {
        for length in [0, 1, 21, 22, 23, 300] {
            let bytes = vec![7; length];
            let packed = Packed::new(&[&bytes[..length / 2], &bytes[length / 2..]]);
            assert_eq!(packed.bytes(), bytes);
        }
        assert_eq!(size_of::<Packed>(), 24);
    }
}
