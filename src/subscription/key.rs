//! The keys of stored subscriptions: `_id`, of whatever type.

use std::{borrow::Cow, fmt};

use bson::{Bson, RawBson, RawBsonRef, RawDocument, RawDocumentBuf, oid::ObjectId, raw::cstr};

use super::id::id_of;
use crate::extjson::plain_text;

/// The `_id` of a stored document. Two of them may be the same id as text: a string, and an `ObjectId` of the same
/// digits. Lists of invalid subscriptions are in the order of keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum DocumentKey {
    /// A string, which is the id.
    Text(Box<str>),
    /// An `ObjectId`, whose digits are the id.
    ObjectId(ObjectId),
    /// A value of any other type, as a document `{_id}`. It has no id.
    Other(Box<[u8]>),
}

impl DocumentKey {
    /// Returns the key of a document, or of a change stream's `documentKey`.
    pub fn of(document: &RawDocument) -> Self {
        match document.get("_id") {
            Ok(Some(RawBsonRef::String(text))) => Self::Text(text.into()),
            Ok(Some(RawBsonRef::ObjectId(id))) => Self::ObjectId(id),
            Ok(Some(other)) => Self::Other(alone(other.into()).into_bytes().into()),
            _ => Self::Other(RawDocumentBuf::new().into_bytes().into()),
        }
    }

    /// Makes the key with this value; `None` if BSON cannot hold it.
    pub fn from_bson(value: Bson) -> Option<Self> {
        let value = RawBson::try_from(value).ok()?;
        Some(Self::of(&alone(value)))
    }

    /// Returns the value; `None` if the document had none.
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

    /// Returns the id, if a subscription can have it.
    pub fn id(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::ObjectId(id) => id_of(RawBsonRef::ObjectId(*id)).map(|id| id.into_owned().into()),
            Self::Other(_) => None,
        }
    }

    /// Whether a document with this key is the subscription under the id of `held`: the same one, or a string
    /// whose digits an `ObjectId` has too. The string is the subscription, whichever came first.
    pub fn prevails_over(&self, held: &Self) -> bool {
        match (self, held) {
            (Self::Text(text), Self::ObjectId(id)) => **text == *id.to_hex(),
            _ => self == held,
        }
    }
}

impl fmt::Display for DocumentKey {
    /// Shows the key like an id.
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
