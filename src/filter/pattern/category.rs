//! Unicode's general categories in the version of the server's PCRE, Unicode 7.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

use super::set::ranges;

/// The supported categories. Those with unassigned code points are left out.
const CATEGORIES: &[&str] = &[
    "L", "Ll", "Lu", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No", "P", "Pc",
    "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp", "Cc",
    "Cf", "Co",
];

/// The characters that have moved since Unicode 7, with their old category, found by asking a server about every
/// character.
const MOVED: &[(char, char, &str)] = &[
    ('\u{166d}', '\u{166d}', "Po"),
    ('\u{1734}', '\u{1734}', "Mn"),
    ('\u{1885}', '\u{1886}', "Lo"),
    ('\u{19b0}', '\u{19c0}', "Mc"),
    ('\u{19c8}', '\u{19c9}', "Mc"),
    ('\u{1cf2}', '\u{1cf3}', "Mc"),
    ('\u{10d0}', '\u{10fa}', "Lo"),
    ('\u{10fd}', '\u{10ff}', "Lo"),
    ('\u{13a0}', '\u{13f4}', "Lo"),
    ('\u{a9bd}', '\u{a9bd}', "Mc"),
];

/// Returns the characters of a category; `None` if it is not supported.
pub(super) fn category(name: &str) -> Option<ClassUnicode> {
    // Computed once: a pattern can name many, and each takes thousands of steps.
    static CLASSES: LazyLock<Vec<ClassUnicode>> =
        LazyLock::new(|| CATEGORIES.iter().map(|name| of_unicode_7(name)).collect());
    if name == "L&" {
        let mut cased = category("Lu")?;
        cased.union(&category("Ll")?);
        cased.union(&category("Lt")?);
        return Some(cased);
    }
    let place = CATEGORIES.iter().position(|known| *known == name)?;
    CLASSES.get(place).cloned()
}

fn of_unicode_7(name: &str) -> ClassUnicode {
    let mut class = property(name);
    class.intersect(&property("age=7.0"));
    for &(start, end, was) in MOVED {
        class.difference(&ranges(&[(start, end)]));
        if was.starts_with(name) {
            class.union(&ranges(&[(start, end)]));
        }
    }
    class
}

/// Returns the characters with a property, by the tables that are linked in.
fn property(name: &str) -> ClassUnicode {
    let hir = regex_syntax::parse(&format!("\\p{{{name}}}"));
    match hir.expect("a property of the tables linked in").into_kind() {
        HirKind::Class(Class::Unicode(class)) => class,
        HirKind::Literal(single) => {
            let text = str::from_utf8(&single.0).unwrap_or_default();
            ClassUnicode::new(
                text.chars()
                    .map(|single| ClassUnicodeRange::new(single, single)),
            )
        }
        _ => ClassUnicode::empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_category_has_characters() {
        for name in CATEGORIES {
            assert!(
                category(name).is_some_and(|class| !class.ranges().is_empty()),
                "{name}"
            );
        }
    }
}
