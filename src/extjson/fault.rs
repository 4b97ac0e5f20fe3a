//! Faults of an input: their places and descriptions, both bounded.

use std::fmt::{self, Write as _};

/// Most bytes of a pointer or a detail. A client's own text may be as long as its request.
const TEXT_BYTES: usize = 512;
/// The end of a text that was cut.
const CUT: &str = "…";

/// A fault at one place of an input. `pointer` is a JSON Pointer in URI fragment form
/// (`#/filter/a`), as RFC 9457's `errors` extension wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The place, as `#/a/b`.
    pub pointer: String,
    /// The fault, described for people.
    pub detail: String,
}

impl Fault {
    /// Makes a fault at `pointer`. Both texts are truncated.
    pub fn new(pointer: impl fmt::Display, detail: impl fmt::Display) -> Self {
        Self {
            pointer: truncated(pointer),
            detail: truncated(detail),
        }
    }
}

/// The first faults of one input, in the order in which they were found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Most faults that are kept of one input.
    pub const MOST: usize = 100;

    /// Adds a fault, unless there are enough: then it is not even formatted.
    pub fn blame(&mut self, pointer: impl fmt::Display, detail: impl fmt::Display) {
        if !self.is_full() {
            self.0.push(Fault::new(pointer, detail));
        }
    }

    /// Whether there are enough: the input need not be read any further.
    pub fn is_full(&self) -> bool {
        self.0.len() >= Self::MOST
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of faults.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Iterates over the faults.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }
}

impl IntoIterator for Faults {
    type Item = Fault;
    type IntoIter = std::vec::IntoIter<Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

/// Formats a text, and cuts it between two characters if it is too long. No more than that is formatted.
pub(crate) fn truncated(text: impl fmt::Display) -> String {
    let mut bounded = Bounded(String::new());
    if write!(bounded, "{text}").is_err() {
        bounded.0.push_str(CUT);
    }
    bounded.0
}

/// A text that takes no more than [`TEXT_BYTES`].
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TEXT_BYTES - self.0.len();
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        Err(fmt::Error)
    }
}

/// A place in an input: a list towards the root, formatted only if there is a fault.
#[derive(Clone, Copy, Debug)]
pub(crate) enum JsonPointer<'a> {
    /// A pointer as text.
    Text(&'a str),
    /// A member of an object.
    Key(&'a JsonPointer<'a>, &'a str),
    /// An item of an array.
    Index(&'a JsonPointer<'a>, usize),
}

impl fmt::Display for JsonPointer<'_> {
    /// As a JSON Pointer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(pointer) => f.write_str(pointer),
            Self::Key(object, key) => {
                object.fmt(f)?;
                write_component(key, f)
            }
            Self::Index(array, index) => write!(f, "{array}/{index}"),
        }
    }
}

/// Writes one component of a JSON Pointer (RFC 6901 escaping).
fn write_component(component: &str, out: &mut impl fmt::Write) -> fmt::Result {
    out.write_char('/')?;
    for c in component.chars() {
        match c {
            '~' => out.write_str("~0")?,
            '/' => out.write_str("~1")?,
            c => out.write_char(c)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_two_characters() {
        assert_eq!(truncated("short"), "short");
        let long = truncated("ä".repeat(10_000));
        assert!(long.ends_with("ä…") && long.len() <= TEXT_BYTES + CUT.len());
        let root = JsonPointer::Text("#");
        let key = "/".repeat(10_000);
        let fault = Fault::new(JsonPointer::Key(&root, &key), &key);
        assert!(fault.pointer.starts_with("#/~1~1") && fault.pointer.len() < 600);
    }

    #[test]
    fn a_hundred_faults_are_kept() {
        let mut faults = Faults::default();
        for index in 0..1_000 {
            faults.blame(JsonPointer::Index(&JsonPointer::Text("#"), index), "no");
        }
        assert!(faults.is_full());
        assert_eq!(faults.into_iter().last().unwrap().pointer, "#/99");
    }
}
