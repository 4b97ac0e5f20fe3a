//! What the router tells of deletes.

use bson::DateTime;

use super::table::Entry;
use crate::{
    position::Position,
    protocol::Ending,
    receipts::{Closed, Receipts, Teardown},
    store::Deletion,
    subscription::SubscriptionId,
};

/// When a subscription went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum When {
    /// The delete was seen: its commit's wall time.
    Committed(DateTime),
    /// It was found to be gone, at this time of this node's clock.
    Before(DateTime),
}

impl When {
    /// The latest time that it can have been.
    pub(super) fn latest(self) -> DateTime {
        match self {
            Self::Committed(time) | Self::Before(time) => time,
        }
    }

    /// What receipts say of it.
    pub(super) fn deletion(self, at: Position, ending: Ending) -> Deletion {
        let wall_time = match self {
            Self::Committed(time) => Some(time),
            Self::Before(_) => None,
        };
        Deletion {
            at,
            wall_time,
            ending: Some(ending),
        }
    }
}

/// Where deletes are told, in the feed's order. Nowhere in tests of the router alone.
#[derive(Debug, Default)]
pub(super) struct Teardowns(pub(super) Option<Receipts>);

impl Teardowns {
    /// All subscriptions are loaded at `at`.
    pub(super) async fn loaded(&self, at: Position) {
        if let Some(receipts) = &self.0 {
            receipts.loaded(at).await;
        }
    }

    /// A subscription was deleted, and these connections were told to end.
    pub(super) async fn deleted(
        &self,
        removed: &Entry,
        deletion: Deletion,
        connections: Vec<Closed>,
    ) {
        let (Some(receipts), Some(id)) = (&self.0, removed.subscription.id()) else {
            return;
        };
        let subscription = SubscriptionId::from(&*id);
        receipts
            .deleted(Teardown {
                subscription,
                deletion,
                connections,
            })
            .await;
    }
}
