//! Output for people, with colours. Plain text where a stream is no terminal or `NO_COLOR` is set.

use std::{fmt::Display, io::Write as _};

use anstyle::{AnsiColor, Style};

use super::failure::Failure;
use crate::telemetry::{Printable, PrintableJson, steers};

pub(crate) const STRONG: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// The style of clap's help and errors.
pub(crate) const HELP: clap::builder::Styles = clap::builder::Styles::styled()
    .header(STRONG)
    .usage(STRONG)
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default().dimmed());

/// Adds a style to a text. The result must go through [`print`], [`note`] and their like, which remove colours where
/// they are not wanted.
pub(crate) fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Puts a text of others on one line and escapes what would steer this terminal.
pub(crate) fn printable(text: &str) -> String {
    Printable(text).to_string()
}

/// Prints lines of results on standard output.
pub(crate) fn print(text: impl Display) -> Result<(), Failure> {
    print_raw(safe(&text.to_string()))
}

/// Prints JSON as a line of results on standard output.
pub(crate) fn print_json(json: impl Display) -> Result<(), Failure> {
    print_raw(PrintableJson(&json.to_string()))
}

fn print_raw(line: impl Display) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Prints on standard error what is going on.
pub(crate) fn note(text: impl Display) {
    anstream::eprintln!("{}", paint(DIM, safe(&text.to_string())));
}

/// Prints a warning on standard error.
pub(crate) fn warn(text: impl Display) {
    anstream::eprintln!("{} {}", paint(WARN, "warning:"), safe(&text.to_string()));
}

/// Prints an error on standard error.
pub fn error(text: impl Display) {
    anstream::eprintln!("{} {}", paint(BAD, "error:"), safe(&text.to_string()));
}

/// Escapes whatever steers a terminal, except line breaks and colours: the last net under all output. Texts of others
/// go through [`printable`] before and have no line breaks of their own.
fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(steers) {
        let (plain, from) = rest.split_at(at);
        let whole = match from.strip_prefix('\n') {
            Some(_) => 1,
            None => colour(from).unwrap_or(0),
        };
        out.push_str(plain);
        out.push_str(&from[..whole]);
        rest = &from[whole..];
        if whole == 0 {
            let mut chars = rest.chars();
            out.extend(chars.next().into_iter().flat_map(char::escape_default));
            rest = chars.as_str();
        }
    }
    out + rest
}

/// Returns the length of the colour code at the start of a text, if there is one (ECMA-48, "select graphic rendition").
fn colour(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters[end..].starts_with('m').then_some(end + 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_and_lines_pass_and_nothing_else() {
        let painted = paint(BAD, "a");
        for (text, expected) in [
            ("a\n  b ä", "a\n  b ä"),
            (&painted, &painted),
            ("\u{1b}[2J\u{1b}]0;t\u{7}", r"\u{1b}[2J\u{1b}]0;t\u{7}"),
            ("\u{1b}[1", r"\u{1b}[1"),
            ("\u{9b}31m\r\u{202e}", r"\u{9b}31m\r\u{202e}"),
        ] {
            assert_eq!(safe(text), expected);
        }
    }
}
