//! From JSON text to BSON.

use std::fmt;

use bson::{Bson, Document};
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, map::Entry};

use super::{At, Fault};

/// Nesting of JSON accepted: the server's 200 levels of BSON, and room for canonical wrappers.
pub const MAX_JSON_DEPTH: usize = 256;

/// Reads JSON text. Refuses duplicate keys and nesting beyond [`MAX_JSON_DEPTH`].
pub fn parse_json(text: &[u8]) -> Result<Value, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    // `Strict` bounds the nesting; serde_json's own bound is lower.
    deserializer.disable_recursion_limit();
    let strict = Strict {
        levels: MAX_JSON_DEPTH,
    };
    let value = strict.deserialize(&mut deserializer);
    let value = value.map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(value)
}

/// Reads a JSON value whose objects hold each key once, and which is nested no deeper than so many levels.
#[derive(Clone, Copy)]
struct Strict {
    levels: usize,
}

impl Strict {
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        let levels = self
            .levels
            .checked_sub(1)
            .ok_or_else(|| E::custom(format_args!("nested deeper than {MAX_JSON_DEPTH} levels")))?;
        Ok(Self { levels })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(inner)?;
            match object.entry(key) {
                Entry::Vacant(place) => {
                    place.insert(value);
                }
                Entry::Occupied(there) => {
                    let key = there.key();
                    return Err(de::Error::custom(format_args!(
                        "the key {key:?} appears twice"
                    )));
                }
            }
        }
        Ok(Value::Object(object))
    }
}

/// Keys by which an object stands for a BSON value rather than a document.
const TYPE_WRAPPERS: [&str; 16] = [
    "$oid",
    "$numberInt",
    "$numberLong",
    "$numberDouble",
    "$numberDecimal",
    "$binary",
    "$uuid",
    "$date",
    "$timestamp",
    "$regularExpression",
    "$minKey",
    "$maxKey",
    "$symbol",
    "$code",
    "$undefined",
    "$dbPointer",
];

/// Turns a JSON value in Extended JSON, relaxed or canonical, into BSON.
/// `pointer` says where the value stands in the request. The first fault is the error.
pub fn to_bson(value: Value, pointer: &str) -> Result<Bson, Fault> {
    let mut faults = Vec::new();
    let value = read_bson(value, At::Pointer(pointer), &mut faults);
    faults.into_iter().next().map_or(Ok(value), Err)
}

/// As [`to_bson`], but goes on after a fault and adds each to `faults`; what is faulty is null.
pub fn read_bson(value: Value, at: At<'_>, faults: &mut Vec<Fault>) -> Bson {
    let converted = match value {
        Value::Object(object) => {
            let wrapper = object
                .keys()
                .next()
                .is_some_and(|key| TYPE_WRAPPERS.contains(&key.as_str()));
            if !wrapper {
                return Bson::Document(read_object(object, at, faults));
            }
            Bson::try_from(Value::Object(object))
        }
        Value::Array(items) => {
            let items = items.into_iter().enumerate();
            return items
                .map(|(index, item)| read_bson(item, At::Index(&at, index), faults))
                .collect::<Vec<_>>()
                .into();
        }
        // Whole numbers beyond 64 bits signed are doubles in relaxed Extended JSON.
        Value::Number(number) if number.is_u64() && !number.is_i64() => {
            Ok(Bson::Double(number.as_f64().unwrap_or(f64::INFINITY)))
        }
        scalar => Bson::try_from(scalar),
    };
    converted.unwrap_or_else(|error| {
        faults.push(Fault::new(at, format!("not Extended JSON: {error}")));
        Bson::Null
    })
}

/// Turns a JSON object into a document; an object that is a type wrapper is a fault here.
pub fn to_document(value: Value, pointer: &str) -> Result<Document, Fault> {
    match to_bson(value, pointer)? {
        Bson::Document(document) => Ok(document),
        _ => Err(Fault::new(pointer, "must be an object")),
    }
}

fn read_object(object: Map<String, Value>, at: At<'_>, faults: &mut Vec<Fault>) -> Document {
    let mut document = Document::new();
    for (key, value) in object {
        let at = At::Key(&at, &key);
        if key.contains('\0') {
            faults.push(Fault::new(
                at,
                "a key must not contain the character U+0000",
            ));
            continue;
        }
        let value = read_bson(value, at, faults);
        document.insert(key, value);
    }
    document
}
