//! The part of a channel that it has before it is live.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use crate::{
    position::Position,
    protocol::{Frame, GapReason},
    session::replay::Replay,
};

/// The time before a channel is live.
pub(in crate::session) struct CatchUp {
    pub(in crate::session) replay: Replay,
    /// `None` while it waits for its turn behind others of its session.
    pub(in crate::session) begun: Option<Instant>,
    /// Frames that the replay has just found.
    pub(in crate::session) frames: Vec<Arc<Frame>>,
    /// The replays that it goes on together with: what they find comes in one order.
    pub(in crate::session) together: Option<Together>,
    /// The `connected` message, held back until it is known whether everything will come.
    pub(in crate::session) greeting: Option<Greeting>,
    pub(in crate::session) ends_on_gap: bool,
}

/// The part of a replay that goes on together with others.
pub(in crate::session) struct Together {
    /// The number of the message that asked for all of them.
    pub(in crate::session) group: u64,
    /// Frames that were found, and wait until the others have come so far.
    pub(in crate::session) waiting: VecDeque<Arc<Frame>>,
    /// Bytes of these.
    pub(in crate::session) bytes: usize,
    pub(in crate::session) progress: Progress,
}

/// The progress of a replay that goes on together with others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::session) enum Progress {
    GoesOn,
    /// Everything is found. The channel stands here once nothing waits.
    IsAt(Position),
    /// Everything up to the channel's end is found.
    IsAtEnd,
}

impl Together {
    pub(in crate::session) fn new(group: u64) -> Self {
        Self {
            group,
            waiting: VecDeque::new(),
            bytes: 0,
            progress: Progress::GoesOn,
        }
    }

    pub(in crate::session) fn push(&mut self, frame: Arc<Frame>) {
        self.bytes += frame.bytes.len();
        self.waiting.push_back(frame);
    }

    pub(in crate::session) fn pop(&mut self) -> Option<Arc<Frame>> {
        let frame = self.waiting.pop_front()?;
        self.bytes -= frame.bytes.len();
        Some(frame)
    }
}

/// The contents of the `connected` message.
pub(in crate::session) struct Greeting {
    pub(in crate::session) connection: String,
    pub(in crate::session) subscription: String,
    /// The warnings about the filter that the client brought.
    pub(in crate::session) warnings: Vec<String>,
    pub(in crate::session) from: Position,
    /// The reason why something before that is missing, if it is, and the cursor after which it is.
    pub(in crate::session) gap: Option<(GapReason, Option<String>)>,
}
