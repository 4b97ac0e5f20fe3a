//! The literal prefix of all texts that a pattern matches.

/// Most bytes of a prefix that are of use.
const MAX_BYTES: usize = 256;

/// Returns the literal text after a leading `^`. It may be empty.
///
/// Careful rather than clever: a pattern has none if it contains an alternative anywhere, or if an option changes the
/// meaning of letters or of `^`.
pub(super) fn prefix(source: &str, options: &str) -> String {
    let mut text = String::new();
    let Some(rest) = source.strip_prefix('^') else {
        return text;
    };
    if source.contains('|')
        || options
            .chars()
            .any(|option| matches!(option, 'i' | 'm' | 'x'))
    {
        return text;
    }
    let mut characters = rest.chars();
    while let Some(character) = characters.next() {
        if text.len() > MAX_BYTES {
            // The next character may be a quantifier that makes the last one optional.
            text.pop();
            return text;
        }
        match character {
            '*' | '?' | '{' => {
                // The quantifier may make the last character optional.
                text.pop();
                return text;
            }
            '\\' => match characters.next() {
                Some(escaped) if escaped.is_ascii_punctuation() => text.push(escaped),
                _ => return text,
            },
            '.' | '[' | ']' | '(' | ')' | '+' | '^' | '$' | '}' => return text,
            plain => text.push(plain),
        }
    }
    text
}
