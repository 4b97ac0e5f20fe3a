//! What the client has acknowledged.
//!
//! An acknowledgement moves the position of a durable subscription forward. Besides, while a connection
//! is caught up and has acknowledged all that it was sent, the position goes with the feed even
//! when nothing matches: else a quiet subscription would fall off the database's history.

use super::NodeContext;
use crate::{
    position::{Cursor, Position},
    router::Incarnation,
};

/// The acknowledgements of one connection.
#[derive(Debug)]
pub(super) struct Acks {
    incarnation: Incarnation,
    /// Where delivery began.
    from: Position,
    /// Whether everything before the beginning is acknowledged.
    complete: bool,
    /// The last frame sent, and the last of those that are to be acknowledged.
    sent: Position,
    to_acknowledge: Position,
    acknowledged: Position,
    /// What could not be told yet.
    untold: Option<Position>,
    told_any: bool,
}

impl Acks {
    /// Nothing is sent yet. `resumed` says whether delivery begins at the acknowledged position.
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
        }
    }

    /// A frame that stands for `at` is on its way; an event is to be acknowledged.
    pub(super) fn sent(&mut self, at: Position, is_event: bool) {
        self.sent = self.sent.max(at);
        if is_event {
            self.to_acknowledge = self.to_acknowledge.max(at);
        }
    }

    /// The client has handled everything up to `cursor`. `applied` is how far this node's feed is.
    pub(super) fn take(&mut self, context: &NodeContext, cursor: Cursor, applied: Position) {
        if cursor.deployment != context.router.deployment() {
            return context.metrics.positions.ack_ignored("other_deployment");
        }
        if cursor.position > self.sent {
            return context.metrics.positions.ack_ignored("ahead");
        }
        context.metrics.positions.acks.inc();
        self.acknowledged = self.acknowledged.max(cursor.position);
        self.complete |= cursor.position >= self.from;
        // A client may start ahead of this node, but nothing is handled before it happened.
        self.tell(context, cursor.position.min(applied));
    }

    /// The connection is caught up with everything up to `applied`.
    pub(super) fn advance(&mut self, context: &NodeContext, applied: Position) {
        if self.is_caught_up() {
            self.tell(context, applied);
        }
    }

    /// Whether everything that was sent is acknowledged.
    pub(super) fn is_caught_up(&self) -> bool {
        self.complete && self.acknowledged >= self.to_acknowledge
    }

    /// Whose position they move.
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

    /// The connection ends: what was acknowledged is written soon.
    pub(super) async fn finish(&mut self, context: &NodeContext) {
        if self.told_any {
            let untold = self.untold.take();
            context.positions.flush(&self.incarnation, untold).await;
        }
    }
}
