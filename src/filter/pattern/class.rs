//! Sets of characters outside brackets: single characters, the dot, and the sets of escapes such as `\w`.

use regex_syntax::hir::ClassUnicode;

use super::ast::Flags;
use super::category::category;
use super::fold::fold;
use super::scanner::Scanner;
use super::set::{any, not, ranges};

/// Returns one character, with its other cases if case is ignored.
pub(super) fn character(character: char, flags: Flags) -> ClassUnicode {
    let mut class = ranges(&[(character, character)]);
    if flags.ignore_case {
        fold(&mut class);
    }
    class
}

/// Returns the characters that `.` matches.
pub(super) fn dot(flags: Flags) -> ClassUnicode {
    if flags.dot_all {
        any()
    } else {
        not(ranges(&[('\n', '\n')]))
    }
}

/// Returns the set of a letter such as `d` in `\d`, if it has one.
pub(super) fn shorthand(letter: char) -> Option<ClassUnicode> {
    Some(match letter {
        'd' => ranges(&[('0', '9')]),
        'w' => ranges(&[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')]),
        's' => ranges(&[('\t', '\r'), (' ', ' ')]),
        'h' => ranges(&[
            ('\t', '\t'),
            (' ', ' '),
            ('\u{a0}', '\u{a0}'),
            ('\u{1680}', '\u{1680}'),
            ('\u{180e}', '\u{180e}'),
            ('\u{2000}', '\u{200a}'),
            ('\u{202f}', '\u{202f}'),
            ('\u{205f}', '\u{205f}'),
            ('\u{3000}', '\u{3000}'),
        ]),
        'v' => ranges(&[('\n', '\r'), ('\u{85}', '\u{85}'), ('\u{2028}', '\u{2029}')]),
        'D' | 'W' | 'S' | 'H' | 'V' => not(shorthand(letter.to_ascii_lowercase())?),
        _ => return None,
    })
}

/// Reads a Unicode general category after `\p` or `\P`, and returns its characters.
pub(super) fn property(scanner: &mut Scanner<'_>, negated: bool) -> Result<ClassUnicode, String> {
    let mut negated = negated;
    let name = if scanner.take("{") {
        negated ^= scanner.take("^");
        scanner.take_until("}").ok_or("A \\p is malformed.")?
    } else {
        scanner.take_while(1, |_| true)
    };
    let class = match name {
        "Any" => any(),
        _ => category(name).ok_or_else(|| format!("\\p{{{name}}} is not supported."))?,
    };
    Ok(if negated { not(class) } else { class })
}
