//! The acknowledgements of a channel's client.
//!
//! An acknowledgement moves the position of a durable subscription forward. Besides, while the client has acknowledged
//! everything that it was sent, the position goes with the feed even when nothing matches: else a quiet subscription
//! would fall off the database's history.

use std::sync::Arc;

use super::NodeContext;
use crate::{
    position::{Cursor, Position},
    router::Incarnation,
};

/// The acknowledgements of one channel. Most clients say nothing, and take no more room than this.
#[derive(Debug)]
pub(super) struct Acks {
    /// The subscription whose position they move; `None` if it has none.
    of: Option<Arc<Incarnation>>,
    said: Option<Box<Said>>,
    /// The client has handled everything that it was sent once it has acknowledged this.
    to_acknowledge: Position,
    /// True if everything before the beginning is acknowledged.
    complete: bool,
    /// True if the caller may move the position of the subscription; a mere reader may not.
    allowed: bool,
}

/// The things that a client has said, and what became of them.
#[derive(Debug)]
struct Said {
    acknowledged: Position,
    /// A position that the writer of positions was too busy to hear of.
    untold: Option<Position>,
    told_any: bool,
}

impl Default for Said {
    fn default() -> Self {
        Self {
            acknowledged: Position::START,
            untold: None,
            told_any: false,
        }
    }
}

/// An acknowledgement of something that was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ahead;

impl Acks {
    /// Nothing is sent yet. Delivery begins behind `from`, which is the acknowledged position if it `resumed` there.
    pub(super) fn new(of: Option<Arc<Incarnation>>, from: Position, resumed: bool) -> Self {
        Self {
            of,
            said: None,
            // Whoever has acknowledged anything behind the beginning has acknowledged what was before that.
            to_acknowledge: if resumed { Position::START } else { from },
            complete: resumed,
            allowed: true,
        }
    }

    /// Sets whether the caller may move the position.
    pub(super) fn allow(&mut self, allowed: bool) {
        self.allowed = allowed;
    }

    /// Notes that a frame at `at` is on its way; an event is to be acknowledged.
    pub(super) fn sent(&mut self, at: Position, is_event: bool) {
        if is_event {
            self.to_acknowledge = self.to_acknowledge.max(at);
        }
    }

    /// Takes the client's word that it has handled everything up to `cursor`. It was `sent` everything up to there, and
    /// this node's feed has come to `applied`.
    pub(super) fn take(
        &mut self,
        context: &NodeContext,
        cursor: Cursor,
        sent: Position,
        applied: Position,
    ) {
        if cursor.deployment != context.router.deployment() {
            return context.metrics.positions.ack_ignored("other_deployment");
        }
        if !self.allowed {
            return context.metrics.positions.ack_ignored("forbidden");
        }
        match self.acknowledge(cursor.position, sent, applied) {
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
        sent: Position,
        applied: Position,
    ) -> Result<Position, Ahead> {
        if at > sent {
            return Err(Ahead);
        }
        let said = self.said.get_or_insert_default();
        said.acknowledged = said.acknowledged.max(at);
        self.complete = true;
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
        let said = self.said.as_deref();
        let acknowledged = said.map_or(Position::START, |said| said.acknowledged);
        self.complete && acknowledged >= self.to_acknowledge
    }

    #[cfg(test)]
    pub(super) fn incarnation(&self) -> &Incarnation {
        self.of.as_ref().expect("it has a position")
    }

    fn tell(&mut self, context: &NodeContext, at: Position) {
        let Some(incarnation) = &self.of else { return };
        let said = self.said.get_or_insert_default();
        let at = said.untold.take().map_or(at, |untold| untold.max(at));
        said.told_any = true;
        if !context.positions.acknowledge(incarnation, at) {
            said.untold = Some(at);
        }
    }

    /// Tries once more to tell what could not be told.
    pub(super) fn tell_rest(&mut self, context: &NodeContext) {
        let untold = self.said.as_ref().and_then(|said| said.untold);
        if let Some(untold) = untold {
            self.tell(context, untold);
        }
    }

    /// Has what was acknowledged written soon: the session ends.
    pub(super) async fn finish(&mut self, context: &NodeContext) {
        if let (Some(incarnation), Some(said)) = (&self.of, &mut self.said)
            && said.told_any
        {
            let untold = said.untold.take();
            context.positions.flush(incarnation, untold).await;
        }
    }
}
