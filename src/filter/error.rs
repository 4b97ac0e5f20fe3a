//! The refusal of a filter.

use std::fmt;

/// The reason why a filter is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// The operator concerned, with its `$`, where there is one.
    pub operator: Option<String>,
    /// The place as a JSON Pointer (RFC 6901) relative to the filter, such as
    /// `/data.amount/$foo`. Empty for the filter as a whole.
    pub pointer: String,
    /// One clear sentence.
    pub reason: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pointer.is_empty() {
            f.write_str(&self.reason)
        } else {
            write!(f, "{}: {}", self.pointer, self.reason)
        }
    }
}

impl std::error::Error for FilterError {}

/// Appends `segment` to a JSON Pointer, escaped.
pub(super) fn push_segment(pointer: &mut String, segment: &str) {
    pointer.push('/');
    for character in segment.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}
