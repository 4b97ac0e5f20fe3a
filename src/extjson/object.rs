//! An object whose members are read one by one, so that nothing is built of unwanted ones.

use std::collections::HashSet;

use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess};
use serde_json::{Map, Value};

use super::{
    json::{KeySeed, twice},
    visit::{Build, BuildVisitor},
};

/// A reader of an object's members.
pub(crate) trait Members {
    /// Reads the member `name`, whose value comes next in `map`.
    fn member<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;

    /// Whether the remaining members may be skipped.
    fn is_done(&self) -> bool;
}

/// A seed that reads an object with [`Members`]; false if the value is not an object. A key that comes twice is
/// an error.
#[derive(Debug)]
pub(crate) struct Object<'m, M>(pub &'m mut M);

impl<'de, M: Members> DeserializeSeed<'de> for Object<'_, M> {
    type Value = bool;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(BuildVisitor(self))
    }
}

impl<M: Members> Build for Object<'_, M> {
    type Built = bool;

    fn plain(self, _: impl Into<Value>) -> bool {
        false
    }

    fn array<'de, A: SeqAccess<'de>>(self, items: A) -> Result<bool, A::Error> {
        pass_items(items)?;
        Ok(false)
    }

    fn object<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut seen = HashSet::new();
        while !self.0.is_done() {
            let Some(key) = map.next_key_seed(KeySeed)? else {
                return Ok(true);
            };
            if seen.contains(&*key) {
                return Err(twice(&key));
            }
            self.0.member(&key, &mut map)?;
            seen.insert(key.into_owned());
        }
        pass_members(map)?;
        Ok(true)
    }
}

/// A seed that reads a value that should hold no others. An array or an object is read as an empty one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scalar;

impl<'de> DeserializeSeed<'de> for Scalar {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(BuildVisitor(self))
    }
}

impl Build for Scalar {
    type Built = Value;

    fn plain(self, value: impl Into<Value>) -> Value {
        value.into()
    }

    fn array<'de, A: SeqAccess<'de>>(self, items: A) -> Result<Value, A::Error> {
        pass_items(items)?;
        Ok(Value::Array(Vec::new()))
    }

    fn object<'de, A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        pass_members(map)?;
        Ok(Value::Object(Map::new()))
    }
}

fn pass_items<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

fn pass_members<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}
