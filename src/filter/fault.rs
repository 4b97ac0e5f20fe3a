//! Faults on purpose, for tests of what a fault of ours does.

/// A filter with this text panics when it is matched.
pub(crate) const TEXT: &str = "a filter with a fault";
/// A filter with this text panics when it is compiled.
pub(crate) const COMPILED: &str = "a filter that is not compiled";

/// Panics if `text` is among the bytes.
pub(crate) fn strike(bytes: &[u8], text: &str) {
    let mut places = bytes.windows(text.len());
    assert!(!places.any(|part| part == text.as_bytes()), "{text}");
}
