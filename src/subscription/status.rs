//! The states of a subscription.

/// The state of a subscription. `Invalid` is computed, never stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    /// Events are matched.
    Active,
    /// Nothing is matched until it is active again.
    Paused,
    /// The document cannot be used as it is; nothing is matched.
    Invalid,
}

impl Status {
    /// All states, in the order in which they are counted.
    pub const ALL: [Self; 3] = [Self::Active, Self::Paused, Self::Invalid];

    /// Returns the name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Invalid => "invalid",
        }
    }

    /// Reads the name on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}
