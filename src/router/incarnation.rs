//! The name of a subscription that tells it from those before it under the same id.

use crate::{position::Position, subscription::SubscriptionId};

/// One of the subscriptions that may follow each other under one id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Incarnation {
    pub id: SubscriptionId,
    /// The position at which it was made, as this node's router saw it.
    pub since: Position,
}
