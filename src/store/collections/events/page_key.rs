//! Page keys: the points between events at which pages begin and end.

use bson::{Bson, Document, RawDocument, RawDocumentBuf, Timestamp, doc};
use data_encoding::BASE32HEX_NOPAD;

use crate::{event::TS_FIELD, extjson::read_or_mend, store::collections::document_limits};

/// The place of an event among pages: its `ts` (null if it has none) and its `_id`; and the point in time
/// that the pages show.
#[derive(Clone, PartialEq, Debug)]
pub struct PageKey {
    ts: Bson,
    id: Bson,
    as_of: Option<Timestamp>,
}

/// The refusal of a page key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the page cursor is damaged: this service did not issue it")]
pub struct PageKeyError;

/// Returns the page key of a stored event, to read on after it. If the `_id` is text that is not UTF-8, it is
/// the next key that can be written down: reading goes on, and may skip events with the very same `ts`.
pub fn event_page_key(event: &RawDocument, newest_first: bool) -> Result<PageKey, PageKeyError> {
    let key = read_or_mend(event, |event| {
        let value = |name: &str| event.get(name)?.map_or(Ok(Bson::Null), Bson::try_from);
        Ok(PageKey {
            ts: value(TS_FIELD)?,
            id: value("_id")?,
            as_of: None,
        })
    });
    let (key, mended) = key.map_err(|_| PageKeyError)?;
    if !mended || has_text_id(event) {
        return Ok(key);
    }
    let id = match (&key.id, newest_first) {
        (Bson::String(text), true) => prefix(text).into(),
        (Bson::String(text), false) => behind(prefix(text)).map_or(doc! {}.into(), Bson::String),
        (_, true) => Bson::MinKey,
        (_, false) => Bson::MaxKey,
    };
    Ok(PageKey { id, ..key })
}

fn has_text_id(event: &RawDocument) -> bool {
    let id = event.get("_id");
    id.is_ok_and(|id| id.is_none_or(|id| Bson::try_from(id).is_ok()))
}

/// Returns the part of a text before the first replacement character, which stands for bytes that are not
/// UTF-8.
pub(super) fn prefix(text: &str) -> &str {
    text.split(char::REPLACEMENT_CHARACTER)
        .next()
        .unwrap_or_default()
}

/// Returns the first text after all those that begin with `prefix`, whatever bytes follow. `None` if there is
/// none.
pub(super) fn behind(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

impl PageKey {
    /// Returns the place at the beginning of a second; from the newest on, the one at its end. It is no event's.
    pub(super) fn at_second(time: u32, newest_first: bool) -> Self {
        let time = time.saturating_add(u32::from(newest_first));
        Self {
            ts: Bson::Timestamp(Timestamp { time, increment: 0 }),
            id: Bson::MinKey,
            as_of: None,
        }
    }

    /// Whether a place with a timestamp is beyond all events with this `ts`. Those that have none come first.
    pub(super) fn is_beyond(&self, ts: &Bson, newest_first: bool) -> bool {
        match (&self.ts, ts) {
            (Bson::Timestamp(place), Bson::Timestamp(ts)) if newest_first => place < ts,
            (Bson::Timestamp(place), Bson::Timestamp(ts)) => place > ts,
            _ => true,
        }
    }

    pub(super) fn ts(&self) -> &Bson {
        &self.ts
    }

    pub(super) fn id(&self) -> &Bson {
        &self.id
    }

    /// Whether the event has a `ts`.
    pub(super) fn is_dated(&self) -> bool {
        self.ts != Bson::Null
    }

    /// Returns the cluster time that the pages show, if they show one.
    pub(super) fn as_of(&self) -> Option<Timestamp> {
        self.as_of
    }

    /// Returns the same place among pages that show this time.
    #[must_use]
    pub fn shown_as_of(self, as_of: Option<Timestamp>) -> Self {
        Self { as_of, ..self }
    }

    /// Returns the key in the form of the index.
    pub(super) fn bounds(&self) -> Document {
        doc! {TS_FIELD: self.ts.clone(), "_id": self.id.clone()}
    }

    /// Writes the opaque text that a client keeps.
    pub fn encode(&self) -> Result<String, PageKeyError> {
        let mut key = doc! {"t": self.ts.clone(), "i": self.id.clone()};
        if let Some(as_of) = self.as_of {
            key.insert("p", as_of);
        }
        let key = RawDocumentBuf::try_from(&key).map_err(|_| PageKeyError)?;
        let mut bytes = key.into_bytes();
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        Ok(BASE32HEX_NOPAD.encode(&bytes))
    }

    /// Reads what [`PageKey::encode`] wrote, and nothing else.
    pub fn decode(text: &str) -> Result<Self, PageKeyError> {
        let mut bytes = BASE32HEX_NOPAD
            .decode(text.as_bytes())
            .map_err(|_| PageKeyError)?;
        let check = bytes.split_off(bytes.len().checked_sub(4).ok_or(PageKeyError)?);
        if crc32fast::hash(&bytes).to_be_bytes() != check[..] {
            return Err(PageKeyError);
        }
        let raw = RawDocumentBuf::from_bytes(bytes).map_err(|_| PageKeyError)?;
        // A forged key may be nested so deep that parsing it would overflow the stack.
        document_limits::check(&raw).map_err(|_| PageKeyError)?;
        let mut key = Document::try_from(&*raw).map_err(|_| PageKeyError)?;
        let as_of = match key.remove("p") {
            Some(Bson::Timestamp(as_of)) => Some(as_of),
            _ => None,
        };
        match (key.remove("t"), key.remove("i")) {
            (Some(ts), Some(id)) => Ok(Self { ts, id, as_of }),
            _ => Err(PageKeyError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_as_deep_as_a_document_may_be() {
        for (levels, is_read) in [(100, true), (1_400, false)] {
            let nested = (0..levels).fold(vec![5, 0, 0, 0, 0], |inside, _| {
                let length = i32::try_from(inside.len() + 7).unwrap().to_le_bytes();
                [&length, &[3, 0][..], &inside, &[0]].concat()
            });
            let nested = RawDocumentBuf::from_bytes(nested).unwrap();
            let key = bson::rawdoc! {"t": bson::RawBson::Null, "i": nested};
            let mut bytes = key.into_bytes();
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
            let read = PageKey::decode(&BASE32HEX_NOPAD.encode(&bytes));
            assert_eq!(read.is_ok(), is_read, "{levels}");
        }
    }

    #[test]
    fn behind_a_text_comes_what_begins_with_no_such() {
        for (text, expected) in [
            ("a", Some("b")),
            ("ab\u{10FFFF}", Some("ac")),
            ("\u{D7FF}", Some("\u{E000}")),
            ("\u{10FFFF}", None),
            ("", None),
        ] {
            assert_eq!(behind(text).as_deref(), expected, "{text:?}");
        }
    }
}
