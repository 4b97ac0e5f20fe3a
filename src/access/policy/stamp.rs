//! Stamps: fields that a policy sets in events.

use bson::{Bson, RawBsonRef, RawDocumentBuf};

use super::super::claims::ClaimValue;
use super::reader::{Place, claim, literal, members};
use super::values::{Unsatisfied, Values};
use super::{Fault, document_of};
use crate::event::{CURSOR_EXTENSION, STORED_AT_FIELD, TS_FIELD};

/// Fields that no policy can set: each event has its own.
const OWN: [&str; 5] = ["_id", "id", TS_FIELD, STORED_AT_FIELD, CURSOR_EXTENSION];

/// A field whose value is set by the policy, and has another one in an event.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} is set by the policy, and the event has another value there")]
pub struct StampFault {
    /// The field's name.
    pub field: Box<str>,
}

/// The fields of a stamp, each a field of the event itself, with the values that they get.
#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct Stamp(Box<[(Box<str>, Value)]>);

/// The value of a stamped field.
#[derive(Clone, PartialEq, Debug)]
enum Value {
    Literal(ClaimValue),
    Claim(Box<str>),
}

/// A stamp with a caller's claims in it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct BoundStamp(Box<[(Box<str>, ClaimValue)]>);

impl Stamp {
    pub(super) fn read(value: RawBsonRef<'_>, place: &Place<'_>) -> Result<Self, Fault> {
        let mut fields = Vec::new();
        for (field, value) in members(document_of(value, place)?, place)? {
            let place = place.then(field);
            if field.is_empty() || field.contains('.') || field.starts_with('$') {
                return Err(place.fault("must be the name of a field of the event itself"));
            }
            if OWN.contains(&field) {
                return Err(place.fault("is not a policy's to set"));
            }
            let value = if let Some(name) = claim(value, &place)? {
                Value::Claim(name)
            } else {
                literal(value, &place)?;
                let usable = ClaimValue::read(value);
                let scalar = usable.filter(|value| !matches!(value, ClaimValue::List(_)));
                let reason = "must be a claim, a text that is not empty, a number or a boolean";
                Value::Literal(scalar.ok_or_else(|| place.fault(reason))?)
            };
            fields.push((field.into(), value));
        }
        Ok(Self(fields.into()))
    }

    /// Whether it sets a field.
    pub(super) fn sets(&self, field: &str) -> bool {
        self.0.iter().any(|(name, _)| **name == *field)
    }

    pub(super) fn claims(&self) -> impl Iterator<Item = &Box<str>> {
        self.0.iter().filter_map(|(_, value)| match value {
            Value::Claim(name) => Some(name),
            Value::Literal(_) => None,
        })
    }

    pub(super) fn bind(&self, values: &Values<'_>) -> Result<BoundStamp, Unsatisfied> {
        let bound = self.0.iter().map(|(field, value)| {
            let value = match value {
                Value::Literal(value) => value.clone(),
                Value::Claim(name) => values.scalar(name)?,
            };
            Ok((field.clone(), value))
        });
        Ok(BoundStamp(bound.collect::<Result<_, _>>()?))
    }
}

impl BoundStamp {
    /// Returns the text that a field gets.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(name, _)| **name == *field)?;
        match value {
            ClaimValue::String(text) => Some(text),
            _ => None,
        }
    }

    /// Sets what is absent. A value that is there must be the stamp's, of the same type; int and long are one.
    pub(super) fn apply(&self, event: &mut RawDocumentBuf) -> Result<(), StampFault> {
        let mut absent = Vec::new();
        for (field, value) in &self.0 {
            let fault = || StampFault {
                field: field.clone(),
            };
            let mut is_there = false;
            for member in event.iter() {
                let (name, given) = member.map_err(|_| fault())?;
                if name.as_str() == &**field {
                    is_there = true;
                    if ClaimValue::read(given).as_ref() != Some(value) {
                        return Err(fault());
                    }
                }
            }
            if !is_there {
                absent.push((field, value.to_bson(), fault()));
            }
        }
        for (field, value, fault) in absent {
            set(event, field, value).ok_or(fault)?;
        }
        Ok(())
    }
}

/// Appends a field; `None` if it cannot be one.
fn set(event: &mut RawDocumentBuf, field: &str, value: Bson) -> Option<()> {
    let field = bson::raw::CString::try_from(field).ok()?;
    let value = bson::RawBson::try_from(value).ok()?;
    event.append(field, value);
    Some(())
}
