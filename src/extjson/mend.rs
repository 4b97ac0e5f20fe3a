//! Stored documents that are not quite BSON, made readable.
//!
//! MongoDB checks the lengths of what it stores, not its text. Real collections hold strings and keys that are
//! not UTF-8, and old binary data whose inner length is wrong. Nearly every document is read as it is. One that
//! cannot be is copied, with U+FFFD in place of the bytes that are not text.

use bson::{RawDocument, RawDocumentBuf, error::Error, spec::ElementType};

/// Reads the document with `read` or, if that fails, a mended copy of it. Also returns whether it was mended.
pub(crate) fn read_or_mend<T>(
    document: &RawDocument,
    mut read: impl FnMut(&RawDocument) -> Result<T, Error>,
) -> Result<(T, bool), Error> {
    match read(document) {
        Ok(read) => Ok((read, false)),
        Err(_) => Ok((read(&mend(document)?)?, true)),
    }
}

/// Returns a copy that can be read. It ends where the lengths in the document contradict each other.
pub(crate) fn mend(document: &RawDocument) -> Result<RawDocumentBuf, Error> {
    let mut out = Vec::with_capacity(document.as_bytes().len() + 64);
    write_document(document.as_bytes(), &mut out);
    RawDocumentBuf::from_bytes(out)
}

/// The old subtype of binary data, whose bytes begin with a second length.
const OLD_BINARY: u8 = 2;

fn write_document(bytes: &[u8], out: &mut Vec<u8>) {
    let elements = bytes.get(4..bytes.len().saturating_sub(1));
    let mut from = Unread(elements.unwrap_or_default());
    measured(out, |out| {
        loop {
            let whole = out.len();
            if write_element(&mut from, out).is_none() {
                out.truncate(whole);
                break;
            }
        }
        out.push(0);
    });
}

/// Copies the next element; `None` if there is none, or none that can be read.
fn write_element(from: &mut Unread<'_>, out: &mut Vec<u8>) -> Option<()> {
    let tag = *from.take(1)?.first()?;
    let kind = ElementType::from(tag)?;
    out.push(tag);
    write_cstring(from.cstring()?, out);
    match kind {
        ElementType::Null | ElementType::Undefined | ElementType::MinKey | ElementType::MaxKey => {}
        ElementType::Boolean => out.push(u8::from(from.take(1)? != [0])),
        ElementType::Int32 => out.extend(from.take(4)?),
        ElementType::Int64
        | ElementType::Double
        | ElementType::DateTime
        | ElementType::Timestamp => out.extend(from.take(8)?),
        ElementType::ObjectId => out.extend(from.take(12)?),
        ElementType::Decimal128 => out.extend(from.take(16)?),
        ElementType::String | ElementType::Symbol | ElementType::JavaScriptCode => {
            write_text(from.text()?, out);
        }
        ElementType::DbPointer => {
            write_text(from.text()?, out);
            out.extend(from.take(12)?);
        }
        ElementType::Binary => {
            let length = from.length()?;
            let subtype = *from.take(1)?.first()?;
            write_binary(subtype, from.take(length)?, out);
        }
        ElementType::EmbeddedDocument | ElementType::Array => {
            write_document(from.document()?, out);
        }
        ElementType::RegularExpression => {
            write_cstring(from.cstring()?, out);
            write_cstring(from.cstring()?, out);
        }
        ElementType::JavaScriptCodeWithScope => {
            let mut inner = Unread(from.document_like()?);
            let (code, scope) = (inner.text()?, inner.document()?);
            measured(out, |out| {
                write_text(code, out);
                write_document(scope, out);
            });
        }
    }
    Some(())
}

/// Writes a value that begins with its own length.
fn measured(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 4]);
    write(out);
    let length = length_bytes(out.len() - start);
    out[start..start + 4].copy_from_slice(&length);
}

/// Encodes a length. A stored document is far smaller than the largest one, and grows threefold at most.
fn length_bytes(length: usize) -> [u8; 4] {
    i32::try_from(length).unwrap_or(i32::MAX).to_le_bytes()
}

fn write_cstring(text: &[u8], out: &mut Vec<u8>) {
    out.extend(String::from_utf8_lossy(text).as_bytes());
    out.push(0);
}

fn write_text(text: &[u8], out: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(text);
    out.extend(length_bytes(text.len() + 1));
    out.extend(text.as_bytes());
    out.push(0);
}

fn write_binary<'a>(subtype: u8, data: &'a [u8], out: &mut Vec<u8>) {
    if subtype != OLD_BINARY {
        out.extend(length_bytes(data.len()));
        out.push(subtype);
        out.extend(data);
        return;
    }
    let right = |(length, rest): (&[u8; 4], &'a [u8])| {
        let length = usize::try_from(i32::from_le_bytes(*length));
        (length == Ok(rest.len())).then_some(rest)
    };
    let inner = data.split_first_chunk().and_then(right).unwrap_or(data);
    out.extend(length_bytes(inner.len() + 4));
    out.push(subtype);
    out.extend(length_bytes(inner.len()));
    out.extend(inner);
}

/// Bytes that are still to be read.
struct Unread<'a>(&'a [u8]);

impl<'a> Unread<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn length(&mut self) -> Option<usize> {
        let bytes = self.take(4)?.try_into().ok()?;
        usize::try_from(i32::from_le_bytes(bytes)).ok()
    }

    fn cstring(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.take(end)?;
        self.take(1)?;
        Some(text)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)?.split_last().map(|(_, text)| text)
    }

    /// Takes a value that begins with its whole length, length included.
    fn document(&mut self) -> Option<&'a [u8]> {
        let length = Unread(self.0).length()?;
        self.take(length).filter(|whole| whole.len() >= 5)
    }

    /// Takes a value that begins with its whole length, without the length.
    fn document_like(&mut self) -> Option<&'a [u8]> {
        self.document()?.get(4..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Bson, doc, raw::RawBsonRef};
    use proptest::prelude::*;

    /// Reads every element, nested ones too.
    fn walk(document: &RawDocument) -> Result<(), Error> {
        for element in document {
            match element?.1 {
                RawBsonRef::Document(inner) => walk(inner)?,
                RawBsonRef::Array(items) => {
                    items.into_iter().try_for_each(|item| item.map(drop))?;
                }
                RawBsonRef::JavaScriptCodeWithScope(code) => walk(code.scope)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// One of each type, nested too.
    fn whole() -> RawDocumentBuf {
        let old = bson::Binary {
            subtype: bson::spec::BinarySubtype::BinaryOld,
            bytes: b"old".to_vec(),
        };
        let code = bson::JavaScriptCodeWithScope {
            code: "text".to_owned(),
            scope: doc! {"text": "text"},
        };
        let regex = bson::Regex {
            pattern: "text".try_into().unwrap(),
            options: "i".try_into().unwrap(),
        };
        let inner = doc! {"text": "text", "a": [1, 2_i64, 2.5, true, Bson::Null, "text"],
        "old": Bson::Binary(old), "code": code, "regex": regex, "min": Bson::MinKey,
        "symbol": Bson::Symbol("text".to_owned()), "id": bson::oid::ObjectId::new(),
        "ts": bson::Timestamp { time: 1, increment: 2 }, "date": bson::DateTime::now()};
        let mut outer = inner.clone();
        outer.insert("inner", inner);
        RawDocumentBuf::try_from(&outer).unwrap()
    }

    fn replaced(document: &RawDocument, what: &[u8], by: &[u8]) -> RawDocumentBuf {
        let mut bytes = document.as_bytes().to_vec();
        for at in 0..bytes.len() - what.len() {
            if bytes[at..].starts_with(what) {
                bytes[at..at + what.len()].copy_from_slice(by);
            }
        }
        RawDocumentBuf::from_bytes(bytes).unwrap()
    }

    #[test]
    fn what_can_be_read_stays_as_it_is() {
        let whole = whole();
        assert_eq!(mend(&whole).unwrap(), whole);
    }

    #[test]
    fn text_and_keys_that_are_not_utf_8_are_mended_everywhere() {
        let broken = replaced(&whole(), b"text", b"t\xFFxt");
        assert!(walk(&broken).is_err());
        let mended = mend(&broken).unwrap();
        walk(&mended).unwrap();
        let inner = mended.get_document("inner").unwrap();
        assert_eq!(inner.get_str("t\u{FFFD}xt").unwrap(), "t\u{FFFD}xt");
        assert_eq!(inner.iter().count(), 10);
    }

    #[test]
    fn old_binary_with_a_wrong_length_keeps_all_its_bytes() {
        let broken = replaced(&whole(), b"\x03\0\0\0old", b"\x09\0\0\0old");
        assert!(walk(&broken).is_err());
        let mended = mend(&broken).unwrap();
        walk(&mended).unwrap();
        let Ok(Some(RawBsonRef::Binary(old))) = mended.get("old") else {
            panic!("no binary");
        };
        assert_eq!(old.bytes, b"\x09\0\0\0old");
    }

    proptest! {
        /// Whatever the bytes: what comes out can be read to its end.
        #[test]
        fn what_was_mended_can_be_read(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12)) {
            let mut bytes = whole().into_bytes();
            let (start, end) = (4, bytes.len() - 1);
            for (at, byte) in changes {
                bytes[start + at.index(end - start)] = byte;
            }
            let mended = mend(&RawDocumentBuf::from_bytes(bytes).unwrap()).unwrap();
            walk(&mended).unwrap();
        }
    }
}
