//! A view of one BSON value as bytes, and the walk over a document's elements.
//!
//! The driver's own raw types check more than a match needs (UTF-8 of every key, for one), and they stop at data that a
//! server stores and compares without complaint. This view checks lengths only. An element that cannot be read ends the
//! walk, and everything after it counts as absent.

use bson::spec::ElementType;

/// One BSON value: its type and the bytes after the element's name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    kind: ElementType,
    bytes: &'a [u8],
}

impl<'a> Value<'a> {
    /// The value null.
    pub(crate) const NULL: Self = Self {
        kind: ElementType::Null,
        bytes: &[],
    };

    /// Makes a view of `bytes`, which must come from [`Elements`] or an operand.
    pub(crate) fn new(kind: ElementType, bytes: &'a [u8]) -> Self {
        Self { kind, bytes }
    }

    /// Returns the BSON type.
    pub(crate) fn kind(&self) -> ElementType {
        self.kind
    }

    /// Returns the value's bytes, as BSON stores them after the name.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether this is an array.
    pub(crate) fn is_array(&self) -> bool {
        self.kind == ElementType::Array
    }

    /// Whether this is an embedded document.
    pub(crate) fn is_document(&self) -> bool {
        self.kind == ElementType::EmbeddedDocument
    }

    /// Iterates over the elements of a document or an array; none for any other type.
    pub(crate) fn elements(&self) -> Elements<'a> {
        match self.kind {
            ElementType::EmbeddedDocument | ElementType::Array => Elements::new(self.bytes),
            _ => Elements {
                rest: &[],
                broken: false,
            },
        }
    }

    /// Returns the text of a string, symbol or code value, without its length and final NUL.
    pub(crate) fn text(&self) -> Option<&'a [u8]> {
        match self.kind {
            ElementType::String | ElementType::Symbol | ElementType::JavaScriptCode => {
                self.bytes.get(4..self.bytes.len().checked_sub(1)?)
            }
            _ => None,
        }
    }

    /// Returns the text of a string value, if it is UTF-8.
    pub(crate) fn str(&self) -> Option<&'a str> {
        match self.kind {
            ElementType::String => std::str::from_utf8(self.text()?).ok(),
            _ => None,
        }
    }

    /// Returns the pattern and the options of a regular expression.
    pub(crate) fn regex(&self) -> Option<(&'a [u8], &'a [u8])> {
        if self.kind != ElementType::RegularExpression {
            return None;
        }
        let (pattern, rest) = split_cstring(self.bytes)?;
        let (options, _) = split_cstring(rest)?;
        Some((pattern, options))
    }

    /// Returns the subtype and the data of a binary value.
    pub(crate) fn binary(&self) -> Option<(u8, &'a [u8])> {
        if self.kind != ElementType::Binary {
            return None;
        }
        Some((*self.bytes.get(4)?, self.bytes.get(5..)?))
    }

    /// Returns the first `N` bytes, for types of fixed width.
    pub(crate) fn fixed<const N: usize>(&self) -> Option<[u8; N]> {
        self.bytes.get(..N)?.try_into().ok()
    }
}

/// The elements of a document or array in their order, ending at the first that cannot be read.
#[derive(Clone, Debug)]
pub(crate) struct Elements<'a> {
    rest: &'a [u8],
    broken: bool,
}

impl<'a> Elements<'a> {
    /// Walks `document`: length, elements, final NUL.
    pub(crate) fn new(document: &'a [u8]) -> Self {
        let end = document.len().saturating_sub(1);
        let rest = document.get(4..end).unwrap_or_default();
        Self {
            rest,
            broken: false,
        }
    }

    /// Whether the walk ended at something that could not be read.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    fn read(&mut self) -> Option<(&'a [u8], Value<'a>)> {
        let (&tag, after_tag) = self.rest.split_first()?;
        let kind = ElementType::from(tag)?;
        let (name, after_name) = split_cstring(after_tag)?;
        let width = width(kind, after_name)?;
        let (bytes, rest) = after_name.split_at_checked(width)?;
        self.rest = rest;
        Some((name, Value { kind, bytes }))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_none() {
            self.broken = true;
            self.rest = &[];
        }
        read
    }
}

fn split_cstring(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// Returns the bytes that a value of type `kind` takes at the start of `bytes`, if it can be one.
fn width(kind: ElementType, bytes: &[u8]) -> Option<usize> {
    match kind {
        ElementType::Null | ElementType::Undefined | ElementType::MinKey | ElementType::MaxKey => {
            Some(0)
        }
        ElementType::Boolean => Some(1),
        ElementType::Int32 => Some(4),
        ElementType::Int64
        | ElementType::Double
        | ElementType::DateTime
        | ElementType::Timestamp => Some(8),
        ElementType::ObjectId => Some(12),
        ElementType::Decimal128 => Some(16),
        ElementType::String | ElementType::Symbol | ElementType::JavaScriptCode => {
            string_width(bytes)
        }
        ElementType::DbPointer => string_width(bytes)?.checked_add(12),
        ElementType::Binary => length(bytes)?.checked_add(5),
        ElementType::EmbeddedDocument | ElementType::Array => document_width(bytes),
        ElementType::JavaScriptCodeWithScope => code_with_scope_width(bytes),
        ElementType::RegularExpression => {
            let (pattern, rest) = split_cstring(bytes)?;
            let (options, _) = split_cstring(rest)?;
            Some(pattern.len() + options.len() + 2)
        }
    }
}

fn length(bytes: &[u8]) -> Option<usize> {
    let first: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    usize::try_from(i32::from_le_bytes(first)).ok()
}

fn string_width(bytes: &[u8]) -> Option<usize> {
    let width = length(bytes)?.checked_add(4)?;
    (width > 4 && *bytes.get(width - 1)? == 0).then_some(width)
}

fn document_width(bytes: &[u8]) -> Option<usize> {
    let width = length(bytes)?;
    (width >= 5 && *bytes.get(width - 1)? == 0).then_some(width)
}

fn code_with_scope_width(bytes: &[u8]) -> Option<usize> {
    let width = length(bytes)?;
    let inner = bytes.get(4..width)?;
    let code = string_width(inner)?;
    (code + document_width(inner.get(code..)?)? + 4 == width).then_some(width)
}
