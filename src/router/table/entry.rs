//! A subscription as the table holds it.

use bson::Timestamp;

use crate::{
    position::Position,
    router::incarnation::Incarnation,
    subscription::{Status, Subscription, SubscriptionId},
};

/// The fault of a subscription that a full node knows by its id alone.
const NO_ROOM: &str = "#: this node holds as many subscriptions as limits.subscriptions and limits.subscriptions_bytes \
                       allow; once there is room, it takes this one up when it is written again or the node restarts";

/// A subscription whose filter, if it is active, is in the index.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The subscription as stored.
    pub(crate) subscription: Subscription,
    /// The point at which it was made, if the router saw that: nothing before it is delivered.
    pub(in super::super) since: Position,
    /// True if this node has no room for it, and knows no more than its id.
    pub(in super::super) withheld: bool,
    /// True if a client brought it: it has no document in the database.
    pub(in super::super) adhoc: bool,
}

impl Entry {
    /// Makes an entry of a subscription that the router did not see being made.
    pub(in super::super) fn new(subscription: Subscription) -> Self {
        Self {
            subscription,
            since: Position::START,
            withheld: false,
            adhoc: false,
        }
    }

    /// Makes an entry of what a client brought.
    pub(in super::super) fn adhoc(subscription: Subscription) -> Self {
        Self {
            adhoc: true,
            ..Self::new(subscription)
        }
    }

    /// Keeps the id alone, for want of room.
    pub(in super::super) fn withheld(self) -> Self {
        Self {
            subscription: self.subscription.reduced_to_id(NO_ROOM),
            since: self.since,
            withheld: true,
            adhoc: false,
        }
    }

    /// Returns the point at which it was made, or one before that: the one that the router saw, else that of
    /// `createdAt`. A date later than the load at `loaded_at` that found it is wrong, and says nothing.
    pub(in super::super) fn made_at(&self, loaded_at: Position) -> Position {
        /// REST writes estimate the server's clock, and are ahead by one round trip at most.
        const SLACK_SECONDS: i64 = 1;
        if self.since > Position::START {
            return self.since;
        }
        let created = self.subscription.document.get_datetime("createdAt").ok();
        let seconds = created.map(|date| date.timestamp_millis().div_euclid(1_000) - SLACK_SECONDS);
        let time = seconds.and_then(|seconds| u32::try_from(seconds).ok());
        let position = time.map(|time| Position::at(Timestamp { time, increment: 0 }));
        position
            .filter(|position| *position <= loaded_at)
            .unwrap_or(Position::START)
    }

    /// Returns its incarnation, if it has an id.
    pub(in super::super) fn incarnation(&self) -> Option<Incarnation> {
        let id = self.subscription.id()?;
        Some(Incarnation {
            id: SubscriptionId::from(&*id),
            since: self.since,
        })
    }

    /// Returns the fault that makes it invalid, if there is one.
    pub(in super::super) fn error(&self) -> Option<&str> {
        self.subscription.fault.as_deref()
    }

    /// Returns the state of the subscription.
    pub(in super::super) fn status(&self) -> Status {
        self.subscription.status()
    }
}
