//! The kinds of stored credentials.

/// The collections that credentials are stored in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum CredentialKind {
    Key,
    Policy,
    Revocation,
}

impl CredentialKind {
    /// Every kind, in the order in which they are loaded: subscriptions come after their policies.
    pub(crate) const ALL: [Self; 3] = [Self::Policy, Self::Revocation, Self::Key];

    /// Returns the name of the collection.
    pub(crate) const fn collection(self) -> &'static str {
        match self {
            Self::Key => "keys",
            Self::Policy => "policies",
            Self::Revocation => "revocations",
        }
    }

    /// Returns the kind that is stored in a collection.
    pub(crate) fn of_collection(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.collection() == name)
    }
}
