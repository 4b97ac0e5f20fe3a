//! A channel, as the registry keeps it.

use std::sync::Arc;

use super::session::SessionKey;
use crate::{
    position::Position,
    protocol::{ChannelId, Dialect},
    router::{alive::Closed, outbox::Sender},
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
    /// Resolves when the kernel has taken the channel's last bytes, or the socket is closed.
    pub closed: Closed,
    /// The client's name for it, where a session has many.
    pub handle: Option<Arc<str>>,
    /// True if its subscription is an ad-hoc one.
    pub adhoc: bool,
}

/// One subscription on a session.
///
/// It holds the outbox and the dialect of its session, so that delivering an event looks nothing up.
#[derive(Debug)]
pub(crate) struct ChannelEntry {
    pub key: ChannelKey,
    pub outbox: Sender,
    pub dialect: Dialect,
    pub(super) new: NewChannel,
}

impl ChannelEntry {
    /// Events up to here are not delivered.
    pub(crate) fn from(&self) -> Position {
        self.new.from
    }

    /// Returns the client's name for it, where its session has many.
    pub(crate) fn handle(&self) -> Option<&str> {
        self.new.handle.as_deref()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.new.phase
    }

    /// Whether it gets events as they come.
    pub(crate) fn is_live(&self) -> bool {
        self.new.phase == Phase::Live
    }

    /// Whether it gets what was just committed at `position`.
    pub(crate) fn gets(&self, position: Position) -> bool {
        self.is_live() && self.new.from < position
    }

    /// Whether a gap ends it.
    pub(crate) fn ends_on_gap(&self) -> bool {
        ends_on_gap(self.dialect, self.new.close_on_gap)
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
            closed: crate::router::alive::AliveGuard::new().1,
            handle: None,
            adhoc: false,
        }
    }
}
