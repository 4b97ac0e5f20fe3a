//! What tells stored subscriptions apart: their `_id`, of whatever type.

use std::{borrow::Cow, fmt};

use bson::{Bson, RawBson, RawBsonRef, RawDocument, RawDocumentBuf, oid::ObjectId, raw::cstr};

use super::id::id_of;
use crate::extjson::plain_text;

/// The `_id` of a stored document. Several may stand for one id as text: a string and an `ObjectId` of the
/// same digits. The order is that of lists of invalid subscriptions.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum DocumentKey {
    /// A string: the id itself.
    Text(Box<str>),
    /// An `ObjectId`, whose id is its digits.
    ObjectId(ObjectId),
    /// Anything else, as a document `{_id}`: no id.
    Other(Box<[u8]>),
}

impl DocumentKey {
    /// The key of a document, or of a change stream's `documentKey`.
    pub fn of(document: &RawDocument) -> Self {
        match document.get("_id") {
            Ok(Some(RawBsonRef::String(text))) => Self::Text(text.into()),
            Ok(Some(RawBsonRef::ObjectId(id))) => Self::ObjectId(id),
            Ok(Some(other)) => Self::Other(alone(other.into()).into_bytes().into()),
            _ => Self::Other(RawDocumentBuf::new().into_bytes().into()),
        }
    }

    /// The key with this value; `None` where BSON cannot hold it.
    pub fn from_bson(value: Bson) -> Option<Self> {
        let value = RawBson::try_from(value).ok()?;
        Some(Self::of(&alone(value)))
    }

    /// The value; `None` where there was none.
    pub fn to_bson(&self) -> Option<Bson> {
        match self {
            Self::Text(text) => Some(Bson::String(text.to_string())),
            Self::ObjectId(id) => Some(Bson::ObjectId(*id)),
            Self::Other(bytes) => {
                let document = RawDocument::from_bytes(bytes).ok()?;
                Bson::try_from(document.get("_id").ok()??).ok()
            }
        }
    }

    /// The id, if a subscription can have it.
    pub fn id(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::ObjectId(id) => id_of(RawBsonRef::ObjectId(*id)).map(|id| id.into_owned().into()),
            Self::Other(_) => None,
        }
    }

    /// Whether a document with this key takes part in what happens under the id of `held`: of two that
    /// stand for one id the string is the subscription, whichever came first.
    pub fn prevails_over(&self, held: &Self) -> bool {
        match (self, held) {
            (Self::Text(text), Self::ObjectId(id)) => **text == *id.to_hex(),
            _ => self == held,
        }
    }
}

impl fmt::Display for DocumentKey {
    /// As the id is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(id) = self.id() {
            return f.write_str(&id);
        }
        let Self::Other(bytes) = self else {
            return Ok(());
        };
        let id = RawDocument::from_bytes(bytes).and_then(|document| document.get("_id"));
        let text = id.ok().flatten().map(plain_text);
        f.write_str(text.and_then(Result::ok).as_deref().unwrap_or("?"))
    }
}

fn alone(id: RawBson) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("_id"), id);
    document
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    fn key(value: impl Into<Bson>) -> DocumentKey {
        DocumentKey::of(&RawDocumentBuf::try_from(&doc! {"_id": value.into()}).unwrap())
    }

    #[test]
    fn a_key_keeps_its_value_and_only_texts_and_object_ids_are_ids() {
        let id = ObjectId::new();
        for (value, text) in [
            (Bson::from("a"), Some("a".to_owned())),
            (id.into(), Some(id.to_hex())),
            (5.into(), None),
            (doc! {"a": 1}.into(), None),
        ] {
            let key = key(value.clone());
            assert_eq!(key.id().as_deref(), text.as_deref());
            assert!(!key.to_string().is_empty());
            assert_eq!(key.to_bson(), Some(value.clone()));
            assert_eq!(DocumentKey::from_bson(value), Some(key));
        }
    }

    #[test]
    fn of_two_that_stand_for_one_id_the_text_prevails() {
        let id = ObjectId::new();
        assert!(key(id.to_hex()).prevails_over(&key(id)));
        assert!(!key(id).prevails_over(&key(id.to_hex())));
        assert!(!key("a").prevails_over(&key(id)));
        assert!(key(id).prevails_over(&key(id)) && key("a").prevails_over(&key("a")));
    }
}
