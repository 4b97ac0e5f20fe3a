//! JSON text as a tree, for values that are small or our own.

use std::{borrow::Cow, cell::Cell, fmt};

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, de::SliceRead, map::Entry};

use super::visit::{Build, BuildVisitor};

/// Most levels of JSON: the server's 200 of BSON, and room for canonical wrappers.
pub(crate) const MAX_JSON_DEPTH: usize = 256;

/// Strips the byte order mark that editors and exports put first (RFC 8259, section 8.1).
pub(crate) fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text)
}

/// Reads the JSON in `text` with `read`, and refuses anything after it. `read` bounds the nesting: the parser's
/// own bound is off, since it is too low.
pub(crate) fn parse_with<'a, T>(
    text: &'a [u8],
    read: impl FnOnce(&mut serde_json::Deserializer<SliceRead<'a>>) -> serde_json::Result<T>,
) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(without_mark(text));
    deserializer.disable_recursion_limit();
    let value = read(&mut deserializer).map_err(super::truncated)?;
    deserializer.end().map_err(super::truncated)?;
    Ok(value)
}

/// Reads JSON text. Refuses duplicate keys and nesting beyond [`MAX_JSON_DEPTH`]. A tree is many times
/// larger than its text: callers bound the text.
pub(crate) fn parse_json(text: &[u8]) -> Result<Value, String> {
    let left = Cell::new(usize::MAX);
    parse_with(text, |deserializer| {
        Tree::new(&left).deserialize(deserializer)
    })
}

/// A seed that reads a value into a tree. It bounds the levels and the number of values, and refuses objects
/// that hold a key twice.
#[derive(Clone, Copy)]
pub(super) struct Tree<'a> {
    levels: usize,
    left: &'a Cell<usize>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(left: &'a Cell<usize>) -> Self {
        Self {
            levels: MAX_JSON_DEPTH,
            left,
        }
    }

    fn inner<E: de::Error>(self) -> Result<Self, E> {
        let levels = self.levels.checked_sub(1).ok_or_else(too_deep)?;
        Ok(Self { levels, ..self })
    }

    /// Reads the rest of an object whose first key was read already.
    pub(super) fn rest<'de, A: MapAccess<'de>>(
        self,
        first: Option<String>,
        mut map: A,
    ) -> Result<Map<String, Value>, A::Error> {
        let inner = self.inner()?;
        let mut object = Map::new();
        let mut next = first;
        while let Some(key) = next {
            let value = map.next_value_seed(inner)?;
            match object.entry(key) {
                Entry::Vacant(place) => {
                    place.insert(value);
                }
                Entry::Occupied(there) => return Err(twice(there.key())),
            }
            next = map.next_key()?;
        }
        Ok(object)
    }
}

/// Returns the error of a value that is nested too deep.
pub(super) fn too_deep<E: de::Error>() -> E {
    E::custom(format_args!("nested deeper than {MAX_JSON_DEPTH} levels"))
}

/// Returns the error of an object that holds a key twice.
pub(super) fn twice<E: de::Error>(key: &str) -> E {
    let key = super::truncated(key);
    E::custom(format_args!("the key {key:?} appears twice"))
}

/// A seed that reads a key, without a copy if the text has no escapes.
pub(super) struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: de::Deserializer<'de>>(self, key: D) -> Result<Self::Value, D::Error> {
        key.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.left.get().checked_sub(1);
        let left = left.ok_or_else(|| de::Error::custom("too many values here"))?;
        self.left.set(left);
        deserializer.deserialize_any(BuildVisitor(self))
    }
}

impl Build for Tree<'_> {
    type Built = Value;

    fn plain(self, value: impl Into<Value>) -> Value {
        value.into()
    }

    fn array<'de, A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn object<'de, A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let first = members.next_key()?;
        self.rest(first, members).map(Value::Object)
    }
}
