//! The ids of subscriptions.

use std::{
    borrow::{Borrow, Cow},
    fmt,
    sync::Arc,
};

use bson::{RawBsonRef, oid::ObjectId};

/// A subscription's id: the text of its `_id`, or the 24 hex digits of an `ObjectId`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(Arc<str>);

impl SubscriptionId {
    /// Makes a new id: `sub_` and a time-ordered UUID (version 7) in hex.
    pub fn generate() -> Self {
        Self::of(uuid::Uuid::now_v7())
    }

    /// Makes the id with this UUID.
    pub fn of(uuid: uuid::Uuid) -> Self {
        Self(format!("sub_{}", uuid.simple()).into())
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for SubscriptionId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl Borrow<str> for SubscriptionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Returns the id of a document with this `_id`; `None` for types that ids do not have.
pub(super) fn id_of(value: RawBsonRef<'_>) -> Option<Cow<'_, str>> {
    match value {
        RawBsonRef::String(text) => Some(text.into()),
        RawBsonRef::ObjectId(id) => Some(id.to_hex().into()),
        _ => None,
    }
}

/// The fault of an id that is not [`is_reachable`].
pub(super) const UNREACHABLE: &str = "cannot be used in an address, where it means another path";

/// Whether clients can put the id into an address. They resolve `.` and `..` before they send anything
/// (RFC 3986, section 5.2.4).
pub(super) fn is_reachable(id: &str) -> bool {
    !matches!(id, "" | "." | "..")
}

/// Returns the `ObjectId` whose id is this text, if there is one.
pub fn object_id(id: &str) -> Option<ObjectId> {
    let found = ObjectId::parse_str(id).ok()?;
    (found.to_hex() == id).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_id_is_found_by_its_digits() {
        let id = ObjectId::new();
        assert_eq!(object_id(&id.to_hex()), Some(id));
        for other in ["", "a", &id.to_hex()[1..], "ABCDEFABCDEFABCDEFABCDEF"] {
            assert_eq!(object_id(other), None, "{other}");
        }
    }
}
