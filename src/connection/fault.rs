//! A fault of ours, on purpose: tests see what comes of it.

use crate::protocol::Frame;

/// An event with these words makes the task of every connection panic that gets it.
pub(crate) const WORDS: &str = "a fault on purpose";

/// Panics if the frame says so.
pub(super) fn strike(frame: &Frame) {
    let mut places = frame.bytes.windows(WORDS.len());
    assert!(!places.any(|words| words == WORDS.as_bytes()), "{WORDS}");
}
