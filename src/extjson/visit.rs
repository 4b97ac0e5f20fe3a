//! A visitor of JSON values that treats all scalars alike, and leaves arrays and objects to its builder.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// A builder of something from a JSON value.
pub(super) trait Build: Sized {
    /// The result.
    type Built;

    /// Builds it from a value that holds no others.
    fn plain(self, value: impl Into<Value>) -> Self::Built;

    /// Builds it from an array.
    fn array<'de, A: SeqAccess<'de>>(self, items: A) -> Result<Self::Built, A::Error>;

    /// Builds it from an object.
    fn object<'de, A: MapAccess<'de>>(self, members: A) -> Result<Self::Built, A::Error>;
}

/// A visitor that hands a value to its builder.
pub(super) struct BuildVisitor<M>(pub(super) M);

impl<'de, M: Build> Visitor<'de> for BuildVisitor<M> {
    type Value = M::Built;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<M::Built, E> {
        Ok(self.0.plain(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<M::Built, E> {
        Ok(self.0.plain(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<M::Built, E> {
        Ok(self.0.plain(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<M::Built, E> {
        Ok(self.0.plain(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<M::Built, E> {
        Ok(self.0.plain(value))
    }

    fn visit_string<E>(self, value: String) -> Result<M::Built, E> {
        Ok(self.0.plain(value))
    }

    fn visit_unit<E>(self) -> Result<M::Built, E> {
        Ok(self.0.plain(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<M::Built, A::Error> {
        self.0.array(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<M::Built, A::Error> {
        self.0.object(members)
    }
}
