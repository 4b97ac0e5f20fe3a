//! The reasons for which events may be missing.

use super::dialect::Dialect;

/// The reason why events may be missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GapReason {
    /// The database no longer has the history that the feed needed.
    HistoryLost,
    /// The cursor was issued by another deployment.
    OtherDeployment,
    /// A change was too large for the change stream to carry.
    OversizedChange,
    /// A change could not be decoded.
    UndecodableChange,
    /// The cursor lies before all that can be replayed.
    NotReplayable,
    /// The cursor lies before the subscription, which gets nothing from that time.
    BeforeSubscription,
}

impl GapReason {
    /// All reasons.
    pub const ALL: [Self; 6] = [
        Self::HistoryLost,
        Self::OtherDeployment,
        Self::OversizedChange,
        Self::UndecodableChange,
        Self::NotReplayable,
        Self::BeforeSubscription,
    ];

    /// Returns the stable name.
    pub const fn token(self) -> &'static str {
        match self {
            Self::HistoryLost => "history_lost",
            Self::OtherDeployment => "other_deployment",
            Self::OversizedChange => "oversized_change",
            Self::UndecodableChange => "undecodable_change",
            Self::NotReplayable => "not_replayable",
            Self::BeforeSubscription => "before_subscription",
        }
    }

    /// Whether a connection of this dialect is told. One without messages can only be closed: see
    /// [`GapReason::closes`].
    pub const fn concerns(self, dialect: Dialect) -> bool {
        dialect.has_messages() || self.closes()
    }

    /// Whether it closes connections that are to be closed at a gap. A cursor from before the subscription does
    /// not: nothing that the subscription could deliver is missing, and the client would come back with the same
    /// cursor for ever.
    pub const fn closes(self) -> bool {
        !matches!(self, Self::BeforeSubscription)
    }
}
