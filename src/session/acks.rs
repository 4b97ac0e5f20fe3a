//! The acknowledgements of a channel's client.
//!
//! An acknowledgement moves the position of a durable subscription forward. Besides, while the client has acknowledged
//! everything that it was sent, the position goes with the feed even when nothing matches: else a quiet subscription
//! would fall off the database's history.

use super::NodeContext;
use crate::{
    position::{Cursor, Position},
    router::Incarnation,
};

/// The acknowledgements of one channel.
#[derive(Debug)]
pub(super) struct Acks {
    /// The subscription whose position they move.
    incarnation: Incarnation,
    /// Delivery began behind this position.
    from: Position,
    /// True if everything before the beginning is acknowledged.
    complete: bool,
    /// The position of the last frame sent.
    sent: Position,
    /// The position of the last frame that is to be acknowledged.
    to_acknowledge: Position,
    acknowledged: Position,
    /// A position that the writer of positions was too busy to hear of.
    untold: Option<Position>,
    told_any: bool,
    /// True if the caller may move the position of the subscription; a mere reader may not.
    allowed: bool,
}

/// An acknowledgement of something that was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ahead;

impl Acks {
    /// Nothing is sent yet. `resumed`: delivery begins at the acknowledged position.
    pub(super) fn new(incarnation: Incarnation, from: Position, resumed: bool) -> Self {
        Self {
            incarnation,
            from,
            complete: resumed,
            sent: from,
            to_acknowledge: Position::START,
            acknowledged: Position::START,
            untold: None,
            told_any: false,
            allowed: true,
        }
    }

    /// Sets whether the caller may move the position.
    pub(super) fn allow(&mut self, allowed: bool) {
        self.allowed = allowed;
    }

    /// Delivery began behind this position.
    pub(super) fn from(&self) -> Position {
        self.from
    }

    /// Notes that a frame at `at` is on its way; an event is to be acknowledged.
    pub(super) fn sent(&mut self, at: Position, is_event: bool) {
        self.sent = self.sent.max(at);
        if is_event {
            self.to_acknowledge = self.to_acknowledge.max(at);
        }
    }

    /// Takes the client's word that it has handled everything up to `cursor`. This node's feed has come to `applied`.
    pub(super) fn take(&mut self, context: &NodeContext, cursor: Cursor, applied: Position) {
        if cursor.deployment != context.router.deployment() {
            return context.metrics.positions.ack_ignored("other_deployment");
        }
        if !self.allowed {
            return context.metrics.positions.ack_ignored("forbidden");
        }
        match self.acknowledge(cursor.position, applied) {
            Ok(at) => {
                context.metrics.positions.acks.inc();
                self.tell(context, at);
            }
            Err(Ahead) => context.metrics.positions.ack_ignored("ahead"),
        }
    }

    /// Notes that everything up to `at` is handled; returns the position to which the subscription moves.
    pub(super) fn acknowledge(
        &mut self,
        at: Position,
        applied: Position,
    ) -> Result<Position, Ahead> {
        if at > self.sent {
            return Err(Ahead);
        }
        self.acknowledged = self.acknowledged.max(at);
        self.complete |= at >= self.from;
        // A client may start ahead of this node, but nothing is handled before it happened.
        Ok(at.min(applied))
    }

    /// Moves the position with the feed, which has come to `applied`, if everything that was sent is acknowledged.
    pub(super) fn advance(&mut self, context: &NodeContext, applied: Position) {
        if self.allowed && self.is_caught_up() {
            self.tell(context, applied);
        }
    }

    /// Whether everything that was sent is acknowledged.
    pub(super) fn is_caught_up(&self) -> bool {
        self.complete && self.acknowledged >= self.to_acknowledge
    }

    #[cfg(test)]
    pub(super) fn incarnation(&self) -> &Incarnation {
        &self.incarnation
    }

    fn tell(&mut self, context: &NodeContext, at: Position) {
        let at = self.untold.take().map_or(at, |untold| untold.max(at));
        self.told_any = true;
        if !context.positions.acknowledge(&self.incarnation, at) {
            self.untold = Some(at);
        }
    }

    /// Tries once more to tell what could not be told.
    pub(super) fn tell_rest(&mut self, context: &NodeContext) {
        if let Some(untold) = self.untold {
            self.tell(context, untold);
        }
    }

    /// Has what was acknowledged written soon: the session ends.
    pub(super) async fn finish(&mut self, context: &NodeContext) {
        if self.told_any {
            let untold = self.untold.take();
            context.positions.flush(&self.incarnation, untold).await;
        }
    }
}
