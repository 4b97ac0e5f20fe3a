//! A fault of ours, on purpose: tests see what comes of it.

use crate::protocol::Frame;

/// An event with these words makes the task of every connection panic that gets it.
pub(crate) const WORDS: &str = "a fault on purpose";

/// A connection to this subscription panics when it has its client, before it runs.
pub(crate) const BEGINS_BADLY: &str = "begins-badly";

/// Panics if the subscription is that one.
pub(super) fn strike_beginning(subscription: &str) {
    assert!(subscription != BEGINS_BADLY, "{WORDS}");
}

/// Panics if the frame says so.
pub(super) fn strike(frame: &Frame) {
    let mut places = frame.bytes.windows(WORDS.len());
    assert!(!places.any(|words| words == WORDS.as_bytes()), "{WORDS}");
}
