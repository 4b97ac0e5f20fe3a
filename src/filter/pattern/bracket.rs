//! Classes in brackets, including POSIX classes.

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

use super::ast::Flags;
use super::class::shorthand;
use super::escape::{self, Escape};
use super::fold::fold;
use super::scanner::Scanner;
use super::set::{not, ranges};

/// One item of a class in brackets.
enum Item {
    Character(char),
    Set(ClassUnicode),
}

/// Reads a class in brackets, after its `[`.
pub(super) fn bracketed(scanner: &mut Scanner<'_>, flags: Flags) -> Result<ClassUnicode, String> {
    let negated = scanner.take("^");
    // Collected first and sorted once: sorting at every item would take quadratic time.
    let (mut plain, mut sets) = (Vec::new(), Vec::new());
    let mut first = true;
    while first || !scanner.take("]") {
        first = false;
        match item(scanner, flags)? {
            Item::Set(set) => sets.extend(set.iter().copied()),
            Item::Character(start) => {
                let end = range_end(scanner, flags)?.unwrap_or(start);
                if end < start {
                    return Err("A range in a character class is out of order.".to_owned());
                }
                plain.push(ClassUnicodeRange::new(start, end));
            }
        }
    }
    let mut class = ClassUnicode::new(plain);
    if flags.ignore_case {
        fold(&mut class);
    }
    class.union(&ClassUnicode::new(sets));
    Ok(if negated { not(class) } else { class })
}

/// Reads the end of a range, if a hyphen that makes one comes next.
fn range_end(scanner: &mut Scanner<'_>, flags: Flags) -> Result<Option<char>, String> {
    if !scanner.rest().starts_with('-') || scanner.rest().starts_with("-]") {
        return Ok(None);
    }
    scanner.take("-");
    match item(scanner, flags)? {
        Item::Character(end) => Ok(Some(end)),
        Item::Set(_) => Err("A range in a character class ends in a set.".to_owned()),
    }
}

fn item(scanner: &mut Scanner<'_>, flags: Flags) -> Result<Item, String> {
    if let Some(set) = posix_item(scanner, flags)? {
        return Ok(Item::Set(set));
    }
    match scanner
        .next()
        .ok_or("A character class has no closing bracket.")?
    {
        '\\' => match escape::in_class(scanner)? {
            Escape::Character(character) => Ok(Item::Character(character)),
            Escape::Set(set) => Ok(Item::Set(set)),
        },
        character => Ok(Item::Character(character)),
    }
}

/// Returns a POSIX class by name. With case ignored, `upper` and `lower` mean any letter.
fn posix(name: &str, flags: Flags) -> Option<ClassUnicode> {
    Some(match name {
        "lower" | "upper" if flags.ignore_case => posix("alpha", flags)?,
        "alpha" => ranges(&[('A', 'Z'), ('a', 'z')]),
        "lower" => ranges(&[('a', 'z')]),
        "upper" => ranges(&[('A', 'Z')]),
        "alnum" => ranges(&[('0', '9'), ('A', 'Z'), ('a', 'z')]),
        "ascii" => ranges(&[('\0', '\x7f')]),
        "blank" => ranges(&[('\t', '\t'), (' ', ' ')]),
        "cntrl" => ranges(&[('\0', '\x1f'), ('\x7f', '\x7f')]),
        "digit" => ranges(&[('0', '9')]),
        "graph" => ranges(&[('!', '~')]),
        "print" => ranges(&[(' ', '~')]),
        "punct" => ranges(&[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')]),
        "space" => ranges(&[('\t', '\r'), (' ', ' ')]),
        "word" => shorthand('w')?,
        "xdigit" => ranges(&[('0', '9'), ('A', 'F'), ('a', 'f')]),
        _ => return None,
    })
}

/// Reads a POSIX class such as `[:alpha:]`, if one comes next.
fn posix_item(scanner: &mut Scanner<'_>, flags: Flags) -> Result<Option<ClassUnicode>, String> {
    let Some((kind, name)) = posix_syntax(scanner.rest()) else {
        return Ok(None);
    };
    if kind != ':' {
        return Err("POSIX collating elements are not supported.".to_owned());
    }
    let (negated, plain) = match name.strip_prefix('^') {
        Some(plain) => (true, plain),
        None => (false, name),
    };
    let class = posix(plain, flags).ok_or_else(|| format!("[:{name}:] is not supported."))?;
    scanner.take(&format!("[:{name}:]"));
    Ok(Some(if negated { not(class) } else { class }))
}

/// Returns the kind and the name of a POSIX item by PCRE's rule: `[:`, `[.` or `[=`, closed by the same character and a
/// bracket before any other bracket.
pub(super) fn posix_syntax(text: &str) -> Option<(char, &str)> {
    let inner = text.strip_prefix('[')?;
    let kind = inner
        .chars()
        .next()
        .filter(|next| matches!(next, ':' | '.' | '='))?;
    let name = &inner[1..];
    let mut characters = name.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let next = characters.peek().map(|(_, next)| *next);
        match character {
            '\\' if matches!(next, Some(']' | '\\')) => drop(characters.next()),
            ']' => return None,
            '[' if next == Some(kind) => return None,
            _ if character == kind && next == Some(']') => return Some((kind, &name[..at])),
            _ => {}
        }
    }
    None
}
