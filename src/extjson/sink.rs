//! Raw BSON, written value by value within a bound.

use std::{fmt::Display, io::Write as _};

use bson::{RawBson, RawDocumentBuf, raw::cstr};

/// Bytes of an empty document: its length, and the zero at its end.
const EMPTY_BYTES: usize = 5;

/// A document under construction.
#[derive(Debug)]
pub(super) struct Sink {
    bytes: Vec<u8>,
    max_bytes: usize,
    over: bool,
}

/// The beginning of a document or an array that is still open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open(usize);

impl Sink {
    /// Makes an empty document that takes up to `max_bytes`.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            bytes: vec![0; 4],
            max_bytes,
            over: false,
        }
    }

    /// Whether the bound is exceeded. From then on nothing is kept.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Returns the position at which the next element begins.
    pub(super) fn position(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the key of the element that begins at `position`.
    pub(super) fn key_at(&self, position: usize) -> &[u8] {
        let rest = self.bytes.get(position + 1..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// Writes an element whose value is `parts`, one after the other.
    pub(super) fn put(&mut self, kind: u8, key: impl Display, parts: &[&[u8]]) {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if self.begin(kind, key, bytes) {
            for part in parts {
                self.bytes.extend_from_slice(part);
            }
        }
    }

    /// Writes a finished value.
    pub(super) fn put_value(&mut self, key: impl Display, value: RawBson) {
        // A document of this value alone: its length, the type, an empty key, the value, a zero.
        let mut alone = RawDocumentBuf::new();
        alone.append(cstr!(""), value);
        let bytes = alone.as_bytes();
        self.put(bytes[4], key, &[&bytes[6..bytes.len() - 1]]);
    }

    /// Begins a document or an array.
    pub(super) fn open(&mut self, kind: u8, key: impl Display) -> Open {
        let begun = self.begin(kind, key, EMPTY_BYTES);
        let open = Open(self.bytes.len());
        if begun {
            self.bytes.extend_from_slice(&[0; 4]);
        }
        open
    }

    /// Ends the innermost document or array.
    pub(super) fn close(&mut self, Open(start): Open) {
        if self.over {
            return;
        }
        self.bytes.push(0);
        let length = i32::try_from(self.bytes.len() - start).unwrap_or(i32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// Returns the whole document; `None` if it is too large.
    pub(super) fn finish(mut self) -> Option<RawDocumentBuf> {
        self.close(Open(0));
        if self.over || self.bytes.len() > self.max_bytes {
            return None;
        }
        RawDocumentBuf::from_bytes(self.bytes).ok()
    }

    /// Writes type and key, if there is room for them and for `bytes` of value.
    fn begin(&mut self, kind: u8, key: impl Display, bytes: usize) -> bool {
        if self.over {
            return false;
        }
        self.bytes.push(kind);
        // Writing to a vector cannot fail.
        let written = write!(self.bytes, "{key}\0");
        debug_assert!(written.is_ok());
        self.over = self.bytes.len() + bytes > self.max_bytes;
        !self.over
    }
}
