//! A channel, as the registry keeps it.

use std::sync::Arc;

use super::session::SessionKey;
use crate::{
    position::Position,
    protocol::{ChannelId, Dialect},
    router::outbox::Sender,
};

/// Names a channel on this node: its session, and its number there. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct ChannelKey {
    pub session: SessionKey,
    pub id: ChannelId,
}

/// The phases of a channel, in this order only. After `Live` the channel ends, and the registry forgets it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Phase {
    /// The router delivers nothing: the session replays the past in order, and is switched over at its end.
    CatchingUp,
    /// The router delivers events as they come.
    Live,
}

/// The part of a channel that its opening decides.
#[derive(Debug)]
pub(crate) struct NewChannel {
    /// Events up to here are not delivered: the client has them, or asked to start later.
    pub from: Position,
    pub phase: Phase,
    /// True if the client wants the channel to end rather than to hear of a gap.
    pub close_on_gap: bool,
    /// Bytes of the copy of the subscription that the channel holds while it catches up.
    pub copy_bytes: usize,
    /// The client's name for it, where a session has many.
    pub handle: Option<Arc<str>>,
    /// True if its subscription is an ad-hoc one.
    pub adhoc: bool,
}

/// One subscription on a session.
///
/// It holds the outbox and the dialect of its session, so that delivering an event looks nothing up.
/// There can be a million on a node, so it holds no more than that.
#[derive(Debug)]
pub(crate) struct ChannelEntry {
    pub key: ChannelKey,
    pub outbox: Sender,
    handle: Option<Arc<str>>,
    /// Channels that start at one point share it.
    from: Arc<Position>,
    /// Documents have fewer than 2^32 bytes.
    copy_bytes: u32,
    pub dialect: Dialect,
    phase: Phase,
    close_on_gap: bool,
    adhoc: bool,
}

impl ChannelEntry {
    /// Returns a channel that starts at `from`.
    pub(super) fn new(
        key: ChannelKey,
        (outbox, dialect): (Sender, Dialect),
        from: Arc<Position>,
        new: NewChannel,
    ) -> Self {
        let mut channel = Self {
            key,
            outbox,
            handle: new.handle,
            from,
            copy_bytes: 0,
            dialect,
            phase: new.phase,
            close_on_gap: new.close_on_gap,
            adhoc: new.adhoc,
        };
        channel.set_copy_bytes(new.copy_bytes);
        channel
    }

    /// Events up to here are not delivered.
    pub(crate) fn from(&self) -> Position {
        *self.from
    }

    /// Returns the bytes of the copy of the subscription that it holds while it catches up.
    pub(super) fn copy_bytes(&self) -> usize {
        self.copy_bytes as usize
    }

    pub(super) fn set_copy_bytes(&mut self, bytes: usize) {
        self.copy_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    }

    /// Switches it to live, from `from` on.
    pub(super) fn make_live(&mut self, from: Arc<Position>) {
        self.phase = Phase::Live;
        self.copy_bytes = 0;
        if *from > *self.from {
            self.from = from;
        }
    }

    /// Returns the client's name for it, where its session has many.
    pub(crate) fn handle(&self) -> Option<&str> {
        self.handle.as_deref()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether its subscription is an ad-hoc one.
    pub(super) fn is_adhoc(&self) -> bool {
        self.adhoc
    }

    /// Whether it gets events as they come.
    pub(crate) fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// Whether it gets what was just committed at `position`.
    pub(crate) fn gets(&self, position: Position) -> bool {
        self.is_live() && self.from() < position
    }

    /// Whether a gap ends it.
    pub(crate) fn ends_on_gap(&self) -> bool {
        ends_on_gap(self.dialect, self.close_on_gap)
    }
}

/// Whether a gap ends such a channel: bare CloudEvents have no way to tell of one.
pub(crate) fn ends_on_gap(dialect: Dialect, close_on_gap: bool) -> bool {
    close_on_gap || !dialect.has_messages()
}

#[cfg(test)]
impl NewChannel {
    /// Returns a channel for tests that is live from the start on.
    pub(crate) fn live() -> Self {
        Self {
            from: Position::START,
            phase: Phase::Live,
            close_on_gap: false,
            copy_bytes: 0,
            handle: None,
            adhoc: false,
        }
    }
}
