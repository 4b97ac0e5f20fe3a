//! JSON values as they come: those that hold no others in one way, arrays and objects as each reader has it.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Who makes something of a JSON value.
pub(super) trait Make: Sized {
    /// It.
    type Made;

    /// Of a value that holds no others.
    fn plain(self, value: impl Into<Value>) -> Self::Made;

    /// Of an array.
    fn array<'de, A: SeqAccess<'de>>(self, items: A) -> Result<Self::Made, A::Error>;

    /// Of an object.
    fn object<'de, A: MapAccess<'de>>(self, members: A) -> Result<Self::Made, A::Error>;
}

/// Hands a value to whoever makes something of it.
pub(super) struct Visit<M>(pub(super) M);

impl<'de, M: Make> Visitor<'de> for Visit<M> {
    type Value = M::Made;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<M::Made, E> {
        Ok(self.0.plain(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<M::Made, E> {
        Ok(self.0.plain(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<M::Made, E> {
        Ok(self.0.plain(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<M::Made, E> {
        Ok(self.0.plain(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<M::Made, E> {
        Ok(self.0.plain(value))
    }

    fn visit_string<E>(self, value: String) -> Result<M::Made, E> {
        Ok(self.0.plain(value))
    }

    fn visit_unit<E>(self) -> Result<M::Made, E> {
        Ok(self.0.plain(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<M::Made, A::Error> {
        self.0.array(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<M::Made, A::Error> {
        self.0.object(members)
    }
}
