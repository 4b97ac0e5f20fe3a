//! Escapes: a backslash and what follows it.

use regex_syntax::hir::ClassUnicode;

use super::ast::{Assertion, Ast, Flags};
use super::class;
use super::scanner::Scanner;

/// The meaning of an escape in place of a character.
pub(super) enum Escape {
    /// One character.
    Character(char),
    /// A set of characters.
    Set(ClassUnicode),
}

/// Reads an escape outside brackets, after its backslash.
pub(super) fn outside_class(scanner: &mut Scanner<'_>, flags: Flags) -> Result<Ast, String> {
    let Some(next) = scanner.peek() else {
        return Err(at_end());
    };
    if let Some(assertion) = assertion(next) {
        scanner.next();
        return Ok(Ast::Assert(assertion));
    }
    match next {
        '1'..='9' | 'g' | 'k' => Err(format!("\\{next} refers back, which is not supported.")),
        'K' | 'R' | 'X' | 'C' => Err(format!("\\{next} is not supported.")),
        'N' if scanner.rest().starts_with("N{") => Err("\\N{} is not supported.".to_owned()),
        'N' => {
            scanner.next();
            Ok(Ast::Class(class::dot(Flags::default())))
        }
        _ => Ok(Ast::Class(match common(scanner)? {
            Escape::Character(character) => class::character(character, flags),
            Escape::Set(set) => set,
        })),
    }
}

/// Reads an escape inside brackets, after its backslash.
pub(super) fn in_class(scanner: &mut Scanner<'_>) -> Result<Escape, String> {
    match scanner.peek() {
        Some('b') => {
            scanner.next();
            Ok(Escape::Character('\u{8}'))
        }
        Some('1'..='7') => octal(scanner, 3).map(Escape::Character),
        Some(letter @ ('B' | 'N' | 'R' | 'X' | 'Q' | 'E')) => {
            Err(format!("\\{letter} is not supported in a character class."))
        }
        _ => common(scanner),
    }
}

fn assertion(letter: char) -> Option<Assertion> {
    Some(match letter {
        'A' | 'G' => Assertion::Start,
        'Z' => Assertion::EndOrLastNewline,
        'z' => Assertion::End,
        'b' => Assertion::WordBoundary,
        'B' => Assertion::NotWordBoundary,
        _ => return None,
    })
}

/// Reads an escape that means the same inside and outside brackets.
fn common(scanner: &mut Scanner<'_>) -> Result<Escape, String> {
    if scanner.peek() == Some('0') {
        return octal(scanner, 3).map(Escape::Character);
    }
    let letter = scanner.next().ok_or_else(at_end)?;
    if let Some(set) = class::shorthand(letter) {
        return Ok(Escape::Set(set));
    }
    Ok(Escape::Character(match letter {
        'p' | 'P' => return class::property(scanner, letter == 'P').map(Escape::Set),
        'a' => '\u{7}',
        'e' => '\u{1b}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'c' => control(scanner)?,
        'x' => hexadecimal(scanner)?,
        'o' => braced(scanner, 'o', 8)?,
        'L' | 'l' | 'U' | 'u' => return Err(format!("\\{letter} is not supported.")),
        // Any other character stands for itself.
        other => other,
    }))
}

fn octal(scanner: &mut Scanner<'_>, digits: usize) -> Result<char, String> {
    number(scanner.take_while(digits, |next| next.is_digit(8)), 8)
}

fn control(scanner: &mut Scanner<'_>) -> Result<char, String> {
    match scanner.next() {
        Some(next) if next.is_ascii() => number(
            &format!("{:x}", next.to_ascii_uppercase() as u32 ^ 0x40),
            16,
        ),
        _ => Err("\\c needs an ASCII character after it.".to_owned()),
    }
}

fn hexadecimal(scanner: &mut Scanner<'_>) -> Result<char, String> {
    if scanner.peek() == Some('{') {
        return braced(scanner, 'x', 16);
    }
    match scanner.take_while(2, |next| next.is_ascii_hexdigit()) {
        "" => Ok('\0'),
        digits => number(digits, 16),
    }
}

fn braced(scanner: &mut Scanner<'_>, letter: char, radix: u32) -> Result<char, String> {
    let digits = if scanner.take("{") {
        scanner.take_until("}")
    } else {
        None
    };
    let digits = digits.ok_or_else(|| format!("\\{letter} is malformed."))?;
    number(digits, radix)
}

fn number(digits: &str, radix: u32) -> Result<char, String> {
    let plain = digits.chars().all(|digit| digit.is_digit(radix));
    let value = u32::from_str_radix(digits, radix).ok().filter(|_| plain);
    value
        .and_then(char::from_u32)
        .ok_or_else(|| format!("\"{digits}\" names no character."))
}

fn at_end() -> String {
    "A backslash ends the regular expression.".to_owned()
}
