//! The numbers of channels.

/// The number of a channel on its session. Never used twice there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ChannelId(u32);

impl ChannelId {
    /// The first channel of every session.
    pub const FIRST: Self = Self(0);

    /// Returns the number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Returns the number.
    pub const fn number(self) -> u32 {
        self.0
    }
}
