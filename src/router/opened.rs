//! A channel that was opened, as its session hears of it.

use std::sync::Arc;

use super::{alive::AliveGuard, incarnation::Incarnation};
use crate::{
    position::{Cursor, Position},
    protocol::{ChannelId, GapReason},
    subscription::Subscription,
};

/// The starting point of delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DeliveryStart {
    /// Events after this are delivered.
    pub from: Position,
    /// The router's position at the attach: everything committed up to here is the past.
    pub attached_at: Position,
    /// True if the channel is to replay the past before it is live.
    pub replay: bool,
    /// The reason why events between the client's cursor and `from` may be missing, if they may.
    pub gap: Option<GapReason>,
}

/// A channel that was opened on a session for many subscriptions. It is told in its place among the frames of the
/// session.
#[derive(Debug)]
pub(crate) struct Opened {
    pub channel: ChannelId,
    pub handle: Arc<str>,
    /// The number of the message that asked for it.
    pub number: u64,
    /// True if its subscription is what the client brought.
    pub adhoc: bool,
    /// The subscription as it is then.
    pub subscription: Subscription,
    /// The subscription whose position its client may move; `None` if that is what the client brought.
    pub incarnation: Option<Arc<Incarnation>>,
    pub start: DeliveryStart,
    /// True if the caller may move the acknowledged position.
    pub may_ack: bool,
    pub wish: Wish,
    /// Falls if nobody takes the channel over.
    pub alive: AliveGuard,
}

/// The part of a client's wish for a channel that its session needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// The id of the subscription; empty of an ad-hoc one.
    pub subscription: Box<str>,
    /// The client has seen everything up to here.
    pub after: Option<Cursor>,
    /// True if `after` is what the client acknowledged, and not its own word.
    pub acknowledged: bool,
    /// True if the channel is to end rather than miss events.
    pub close_on_gap: bool,
    /// The warnings about the filter that the client brought.
    pub warnings: Vec<String>,
}
