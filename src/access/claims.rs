//! Claims: what a credential says of its caller, beside its tenant.

use std::collections::BTreeMap;

use bson::{Bson, Document, RawBsonRef, RawDocument};
use serde_json::Value;

/// The most values in a list. A list in a policy's `$in` is copied into the branches of filters up to this length.
pub(crate) const MOST_VALUES: usize = 64;
/// The most claims of a credential.
pub(crate) const MOST_CLAIMS: usize = 64;

/// The value of a claim that a policy can use.
#[derive(Clone, PartialEq, Debug)]
pub enum ClaimValue {
    /// A text.
    String(Box<str>),
    /// An integer.
    Int(i64),
    /// Any other number.
    Double(f64),
    /// A boolean.
    Bool(bool),
    /// At most [`MOST_VALUES`] values, none of them a list.
    List(Box<[ClaimValue]>),
}

impl ClaimValue {
    /// Reads a stored value; `None` if no policy can use it.
    pub(crate) fn read(value: RawBsonRef<'_>) -> Option<Self> {
        let RawBsonRef::Array(values) = value else {
            return Self::scalar(value);
        };
        let mut list = Vec::new();
        for value in values {
            if list.len() == MOST_VALUES {
                return None;
            }
            list.push(Self::scalar(value.ok()?)?);
        }
        Some(Self::List(list.into()))
    }

    fn scalar(value: RawBsonRef<'_>) -> Option<Self> {
        match value {
            RawBsonRef::String(text) if !text.is_empty() => Some(Self::String(text.into())),
            RawBsonRef::Int32(number) => Some(Self::Int(number.into())),
            RawBsonRef::Int64(number) => Some(Self::Int(number)),
            RawBsonRef::Double(number) if number.is_finite() => Some(Self::Double(number)),
            RawBsonRef::Boolean(flag) => Some(Self::Bool(flag)),
            _ => None,
        }
    }

    /// Reads a value of a token; `None` if no policy can use it.
    pub(crate) fn of_json(value: &Value) -> Option<Self> {
        match value {
            Value::Array(values) if values.len() <= MOST_VALUES => {
                let values: Option<Vec<_>> = values.iter().map(Self::scalar_of_json).collect();
                Some(Self::List(values?.into()))
            }
            value => Self::scalar_of_json(value),
        }
    }

    fn scalar_of_json(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) if !text.is_empty() => Some(Self::String(text.as_str().into())),
            Value::Bool(flag) => Some(Self::Bool(*flag)),
            Value::Number(number) => match (number.as_i64(), number.is_u64()) {
                (Some(number), _) => Some(Self::Int(number)),
                // It has no exact value as BSON.
                (None, true) => None,
                (None, false) => number.as_f64().map(Self::Double),
            },
            _ => None,
        }
    }

    /// Returns the value as it is stored and compared.
    pub(crate) fn to_bson(&self) -> Bson {
        match self {
            Self::String(text) => Bson::String(text.to_string()),
            Self::Int(number) => Bson::Int64(*number),
            Self::Double(number) => Bson::Double(*number),
            Self::Bool(flag) => Bson::Boolean(*flag),
            Self::List(values) => Bson::Array(values.iter().map(Self::to_bson).collect()),
        }
    }
}

/// Claims by name.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Claims(BTreeMap<Box<str>, ClaimValue>);

impl Claims {
    /// Reads stored claims. A value that no policy can use is left out, so a policy that needs it finds nothing.
    pub fn read(document: &RawDocument) -> Self {
        let mut claims = Self::default();
        for (name, value) in document.iter().flatten() {
            if let Some(value) = ClaimValue::read(value) {
                claims.insert(name.as_str(), value);
            }
        }
        claims
    }

    /// Adds a claim, or replaces it.
    pub fn insert(&mut self, name: &str, value: ClaimValue) {
        self.0.insert(name.into(), value);
    }

    /// Returns a claim's value.
    pub(crate) fn get(&self, name: &str) -> Option<&ClaimValue> {
        self.0.get(name)
    }

    /// Returns the number of claims.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no claim.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the claims as they are stored.
    pub fn to_document(&self) -> Document {
        let all = self.0.iter();
        all.map(|(name, value)| (name.to_string(), value.to_bson()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{RawDocumentBuf, doc};

    #[test]
    fn claims_keep_their_types_and_what_no_policy_can_use_is_left_out() {
        let usable = doc! {
            "text": "a", "int": 42_i64, "double": 1.5, "flag": false, "list": ["a", 1_i64, true],
        };
        let mut stored = usable.clone();
        for (name, value) in [
            ("empty", Bson::from("")),
            ("nan", f64::NAN.into()),
            ("null", Bson::Null),
            ("object", doc! {"$gt": ""}.into()),
            ("nested", vec![Bson::Array(vec![])].into()),
            ("long", vec![Bson::from(1); MOST_VALUES + 1].into()),
        ] {
            stored.insert(name, value);
        }
        let read = Claims::read(&RawDocumentBuf::try_from(&stored).unwrap());
        let mut sorted: Vec<_> = usable.into_iter().collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(read.to_document(), sorted.into_iter().collect::<Document>());
    }

    #[test]
    fn numbers_and_texts_are_different_claims() {
        let read =
            |value: Bson| Claims::read(&RawDocumentBuf::try_from(&doc! {"id": value}).unwrap());
        assert_ne!(read(42.into()), read("42".into()));
        assert_eq!(read(42.into()), read(42_i64.into()));
    }
}
