//! Colours, and writing for people. Streams that are no terminal get plain text, and so does
//! everyone who set `NO_COLOR`.

use std::{fmt::Display, io::Write as _};

use anstyle::{AnsiColor, Style};

use super::failure::Failure;

pub(crate) const STRONG: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// How clap writes help and errors.
pub(crate) const HELP: clap::builder::Styles = clap::builder::Styles::styled()
    .header(STRONG)
    .usage(STRONG)
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default().dimmed());

/// `text` in `style`. What is printed must pass through [`print`], [`note`] or the like, which
/// remove the colours where they are not wanted.
pub(crate) fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// `text` without control characters: what others wrote must not steer this terminal.
pub(crate) fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// Prints a line of results on standard output.
pub(crate) fn print(line: impl Display) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Says on standard error what is going on.
pub(crate) fn note(text: impl Display) {
    anstream::eprintln!("{}", paint(DIM, text));
}

/// Says on standard error what may be wrong.
pub(crate) fn warn(text: impl Display) {
    anstream::eprintln!("{} {text}", paint(WARN, "warning:"));
}

/// Says on standard error what went wrong.
pub fn error(text: impl Display) {
    anstream::eprintln!("{} {text}", paint(BAD, "error:"));
}
