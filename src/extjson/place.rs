//! Places in an input, and what is wrong there.

use std::fmt;

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
    /// A fault at `pointer`.
    pub fn new(pointer: impl fmt::Display, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.to_string(),
            detail: detail.into(),
        }
    }
}

/// A place in an input, as the way to it; written out only where something is wrong.
#[derive(Clone, Copy, Debug)]
pub enum At<'a> {
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
