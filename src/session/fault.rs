//! Faults of ours, on purpose: tests see their consequences.

use bson::RawDocument;

use crate::protocol::Frame;

/// An event with these words makes the task of every session panic that gets it.
pub(crate) const WORDS: &str = "a fault on purpose";

/// A session for this subscription panics when it has its client, before it runs.
pub(crate) const BEGINS_BADLY: &str = "begins-badly";

/// An event with these words makes a replay panic that matches it.
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
