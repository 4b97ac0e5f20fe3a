//! The text that everything a pattern matches begins with.

/// How many bytes of it are of use.
const MOST: usize = 256;

/// The literal text after a leading `^`, as far as it is plain. Empty if nothing can be said.
///
/// Careful rather than clever: a pattern with an alternative anywhere, or under an option that
/// changes what letters or `^` mean, has none.
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
        if text.len() > MOST {
            // What comes may say that the last character is there no times at all.
            text.pop();
            return text;
        }
        match character {
            '*' | '?' | '{' => {
                // The last character may be there no times at all.
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
