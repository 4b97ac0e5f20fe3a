//! Rights that can be taken away, with a proof that nothing is left of them.

use std::{fmt, sync::Arc};

/// The kinds of documents by which rights end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RightKind {
    /// A subscription: its sockets end when it is deleted.
    Subscription,
    /// A key: its sockets end when it is deleted.
    Key,
    /// A revocation: the sockets of what it names end when it is made.
    Revocation,
}

impl RightKind {
    /// Returns the kind as it is stored.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Subscription => "subscription",
            Self::Key => "key",
            Self::Revocation => "revocation",
        }
    }
}

/// A right that was taken away, named by the document that gave it or took it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Right {
    /// The kind of the document.
    pub kind: RightKind,
    /// Its `_id`, as text.
    pub id: Arc<str>,
}

impl Right {
    /// Returns the right to a subscription's events.
    pub fn subscription(id: &str) -> Self {
        Self::of(RightKind::Subscription, id)
    }

    pub(crate) fn of(kind: RightKind, id: &str) -> Self {
        let id = id.into();
        Self { kind, id }
    }
}

impl fmt::Debug for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.id)
    }
}
