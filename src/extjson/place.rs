//! Places in an input, and what is wrong there, in bounded words.

use std::fmt::{self, Write as _};

/// Bytes of a pointer or a detail that are told; a client's own text may be as long as its request.
const TOLD_BYTES: usize = 512;
/// Stands where a text was cut.
const CUT: &str = "…";

/// Something wrong at one place of an input. `pointer` is a JSON Pointer in URI fragment form
/// (`#/filter/a`), as RFC 9457's `errors` extension wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Where, as `#/a/b`.
    pub pointer: String,
    /// What is wrong there, for people.
    pub detail: String,
}

impl Fault {
    /// A fault at `pointer`; both texts are cut to what is told.
    pub fn new(pointer: impl fmt::Display, detail: impl fmt::Display) -> Self {
        Self {
            pointer: told(pointer),
            detail: told(detail),
        }
    }
}

/// The faults of one input, in the order in which they were found: so many, and no more.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Faults of one input that are told.
    pub const MOST: usize = 100;

    /// Adds a fault; one that there is no room for is not even worded.
    pub fn blame(&mut self, pointer: impl fmt::Display, detail: impl fmt::Display) {
        if !self.is_full() {
            self.0.push(Fault::new(pointer, detail));
        }
    }

    /// Whether there is no room for another: the input need not be read any further.
    pub fn is_full(&self) -> bool {
        self.0.len() >= Self::MOST
    }

    /// Whether nothing was wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Each of them.
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

/// A text as it is told: cut, between two characters, where it is too long. No more of it is written
/// than that.
pub(crate) fn told(text: impl fmt::Display) -> String {
    let mut told = Told(String::new());
    if write!(told, "{text}").is_err() {
        told.0.push_str(CUT);
    }
    told.0
}

/// Takes text until it is full.
struct Told(String);

impl fmt::Write for Told {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TOLD_BYTES - self.0.len();
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        Err(fmt::Error)
    }
}

/// A place in an input, as the way to it; written out only where something is wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At<'a> {
    /// A place that is written out already.
    Pointer(&'a str),
    /// A member of an object.
    Key(&'a At<'a>, &'a str),
    /// An item of an array.
    Index(&'a At<'a>, usize),
}

impl fmt::Display for At<'_> {
    /// As a JSON Pointer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pointer(pointer) => f.write_str(pointer),
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
        assert_eq!(told("short"), "short");
        let long = told("ä".repeat(10_000));
        assert!(long.ends_with("ä…") && long.len() <= TOLD_BYTES + CUT.len());
        let root = At::Pointer("#");
        let key = "/".repeat(10_000);
        let fault = Fault::new(At::Key(&root, &key), &key);
        assert!(fault.pointer.starts_with("#/~1~1") && fault.pointer.len() < 600);
    }

    #[test]
    fn a_hundred_faults_are_kept() {
        let mut faults = Faults::default();
        for index in 0..1_000 {
            faults.blame(At::Index(&At::Pointer("#"), index), "no");
        }
        assert!(faults.is_full());
        assert_eq!(faults.into_iter().last().unwrap().pointer, "#/99");
    }
}
