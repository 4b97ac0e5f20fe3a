//! The beginning of a group: its kind, and the options that it sets.

use super::ast::Flags;
use super::scanner::Scanner;

/// The meaning of an opening parenthesis.
pub(super) enum Opening {
    /// A group, capturing or not, with the options inside it.
    Group(Flags),
    /// Options for the rest of the group around.
    Options(Flags),
}

/// Constructs that cannot be matched in linear time or do not belong in a filter.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("?=", "look-ahead"),
    ("?!", "look-ahead"),
    ("?<=", "look-behind"),
    ("?<!", "look-behind"),
    ("?>", "an atomic group"),
    ("?|", "a branch reset"),
    ("?(", "a conditional group"),
    ("?R", "recursion"),
    ("?&", "recursion"),
    ("?P>", "recursion"),
    ("?P=", "a back-reference"),
    ("?C", "a callout"),
    ("*", "a verb"),
];

/// Reads what follows an opening parenthesis. `names` are the group names used so far.
pub(super) fn opening<'p>(
    scanner: &mut Scanner<'p>,
    flags: Flags,
    names: &mut Vec<&'p str>,
) -> Result<Opening, String> {
    let rest = scanner.rest();
    if let Some((_, what)) = UNSUPPORTED
        .iter()
        .find(|(begin, _)| rest.starts_with(begin))
    {
        return Err(format!(
            "The regular expression uses {what}, which is not supported."
        ));
    }
    if !scanner.take("?") || scanner.take(":") {
        return Ok(Opening::Group(flags));
    }
    for (begin, end) in [("P<", ">"), ("<", ">"), ("'", "'")] {
        if scanner.take(begin) {
            names.push(name(scanner, end, names)?);
            return Ok(Opening::Group(flags));
        }
    }
    options(scanner, flags)
}

fn name<'p>(scanner: &mut Scanner<'p>, end: &str, names: &[&str]) -> Result<&'p str, String> {
    let name = scanner.take_while(usize::MAX, |next| {
        next.is_ascii_alphanumeric() || next == '_'
    });
    let proper =
        !name.is_empty() && name.len() <= 32 && !name.starts_with(|c: char| c.is_ascii_digit());
    if !proper || !scanner.take(end) {
        return Err("The name of a group is malformed.".to_owned());
    }
    if names.contains(&name) {
        return Err(format!("Two groups have the name {name}."));
    }
    Ok(name)
}

/// Reads options such as `i-s`, up to the `)` or `:` that ends them.
fn options(scanner: &mut Scanner<'_>, mut flags: Flags) -> Result<Opening, String> {
    let mut on = true;
    loop {
        match scanner.next() {
            Some(')') => return Ok(Opening::Options(flags)),
            Some(':') => return Ok(Opening::Group(flags)),
            Some('-') => on = false,
            Some(letter) if flags.set(letter, on) => {}
            Some(other) => return Err(format!("(?{other} is not supported.")),
            None => return Err("A group is not closed.".to_owned()),
        }
    }
}
