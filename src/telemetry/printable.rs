//! Text from outside, made harmless for log lines and terminals.

use std::fmt::{self, Write as _};

/// Text with escapes (`\n`, `\u{1b}`) for characters that end a line, drive a terminal or change the direction of
/// text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printable<'a>(pub(crate) &'a str);

/// JSON text, with JSON escapes for the same characters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrintableJson<'a>(pub(crate) &'a str);

/// Whether a character can control a terminal or a line: control characters (C0, DEL, C1), line separators, marks of
/// direction.
pub(crate) fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0, f, |c, f| write!(f, "{}", c.escape_default()))
    }
}

impl fmt::Display for PrintableJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0, f, |c, f| match c {
            // Unescaped, these only stand between values.
            '\n' | '\r' | '\t' => f.write_char(' '),
            c => write!(f, "\\u{:04x}", u32::from(c)),
        })
    }
}

fn escape(
    text: &str,
    f: &mut fmt::Formatter<'_>,
    mut replace: impl FnMut(char, &mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    let mut rest = text;
    while let Some((at, c)) = rest.char_indices().find(|(_, c)| steers(*c)) {
        f.write_str(&rest[..at])?;
        replace(c, f)?;
        rest = &rest[at + c.len_utf8()..];
    }
    f.write_str(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_is_escaped_and_all_else_is_not() {
        for (text, expected) in [
            ("plain ä 漢 \\ \"", "plain ä 漢 \\ \""),
            ("a\nb\r\t\0", r"a\nb\r\t\u{0}"),
            ("\u{1b}[2J\u{7f}\u{9b}", r"\u{1b}[2J\u{7f}\u{9b}"),
            ("\u{202e}x\u{2066}\u{2028}", r"\u{202e}x\u{2066}\u{2028}"),
        ] {
            assert_eq!(Printable(text).to_string(), expected);
        }
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = serde_json::json!({"a\u{9b}": "\u{7f}\u{202e}\n"});
        let text = PrintableJson(&format!("{value}\n")).to_string();
        assert!(!text.contains(steers), "{text}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
    }
}
