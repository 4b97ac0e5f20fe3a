//! A fault of ours, on purpose: tests see what comes of it.

use bson::RawDocument;

use crate::protocol::Frame;

/// An event with these words makes the task of every connection panic that gets it.
pub(crate) const WORDS: &str = "a fault on purpose";

/// A connection to this subscription panics when it has its client, before it runs.
pub(crate) const BEGINS_BADLY: &str = "begins-badly";

/// An event with these words makes whoever matches it for a replay panic.
pub(crate) const CANNOT_BE_MATCHED: &str = "a fault in a replay";

/// Panics if the event says so.
pub(super) fn strike_matching(event: &RawDocument) {
    let mut places = event.as_bytes().windows(CANNOT_BE_MATCHED.len());
    assert!(!places.any(|words| words == CANNOT_BE_MATCHED.as_bytes()));
}

/// Panics if the subscription is that one.
pub(super) fn strike_beginning(subscription: &str) {
    assert!(subscription != BEGINS_BADLY, "{WORDS}");
}

/// Panics if the frame says so.
pub(super) fn strike(frame: &Frame) {
    let mut places = frame.bytes.windows(WORDS.len());
    assert!(!places.any(|words| words == WORDS.as_bytes()), "{WORDS}");
}
