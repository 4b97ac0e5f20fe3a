//! Sets of characters by their ranges.

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

/// Returns the set of the given inclusive ranges.
pub(super) fn ranges(ranges: &[(char, char)]) -> ClassUnicode {
    ClassUnicode::new(
        ranges
            .iter()
            .map(|&(start, end)| ClassUnicodeRange::new(start, end)),
    )
}

/// Returns the set of all characters.
pub(super) fn any() -> ClassUnicode {
    ranges(&[('\0', char::MAX)])
}

/// Returns the set of all characters that are not in `class`.
pub(super) fn not(mut class: ClassUnicode) -> ClassUnicode {
    class.negate();
    class
}
