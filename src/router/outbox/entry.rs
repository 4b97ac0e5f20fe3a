//! The entries of the queue: frames, and the beginnings and ends of channels.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::{
    position::Position,
    protocol::{ChannelId, Ending, Frame, FrameKind},
    router::opened::Opened,
};

/// The registry's decision that a session or a channel ends. Made once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct End {
    pub ending: Ending,
    /// The feed was applied up to here when it was decided.
    pub position: Position,
    /// True if what waits is delivered first.
    pub drain: bool,
    /// True if what follows on the session belongs to the same change.
    pub more: bool,
}

impl End {
    pub(crate) fn new(ending: Ending, position: Position) -> Self {
        Self {
            ending,
            position,
            drain: ending.drains(),
            more: false,
        }
    }
}

/// Something that waits in the queue.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A frame for a channel.
    Frame(ChannelId, Arc<Frame>),
    /// A frame for several channels of a session that has many.
    ToSeveral(Box<ToSeveral>),
    /// The beginning of a channel. Nothing for that channel comes before it.
    Opened {
        channel: ChannelId,
        /// True if it is to be held back from here on, until it has caught up.
        catches_up: bool,
        opened: Box<Opened>,
    },
    /// The end of a channel. Nothing for that channel comes behind it.
    End(ChannelId, Box<End>),
}

/// A frame for several channels.
#[derive(Clone, Debug)]
pub(crate) struct ToSeveral {
    /// In order, none twice.
    pub to: SmallVec<[ChannelId; 4]>,
    pub frame: Arc<Frame>,
    /// True if what follows on the session belongs to the same change.
    pub more: bool,
}

impl Entry {
    /// Makes an entry of a frame for these channels, which are in order.
    pub(crate) fn to_several(to: SmallVec<[ChannelId; 4]>, frame: Arc<Frame>) -> Self {
        Self::ToSeveral(Box::new(ToSeveral {
            to,
            frame,
            more: false,
        }))
    }

    /// Returns the frame, if it is one.
    pub(crate) fn frame(&self) -> Option<&Arc<Frame>> {
        match self {
            Self::Frame(_, frame) => Some(frame),
            Self::ToSeveral(several) => Some(&several.frame),
            Self::Opened { .. } | Self::End(..) => None,
        }
    }

    /// Whether it is the frame of an event.
    pub(crate) fn is_event(&self) -> bool {
        self.frame().is_some_and(|frame| frame.event_at.is_some())
    }

    /// Whether it tells several channels of a gap.
    pub(crate) fn is_gap(&self) -> bool {
        self.frame()
            .is_some_and(|frame| frame.kind == FrameKind::Tail("gap"))
    }

    /// Whether it is the end of a channel.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self, Self::End(..))
    }

    /// Returns the position of the change that it tells of, if it does.
    pub(crate) fn of_change(&self) -> Option<Position> {
        match self {
            Self::End(_, end) => Some(end.position),
            other => other.frame().map(|frame| frame.position),
        }
    }

    /// Takes in the channels of another entry, if both say the same of a gap.
    pub(crate) fn take_in(&mut self, other: &Self) -> bool {
        let (Self::ToSeveral(own), Self::ToSeveral(other)) = (self, other) else {
            return false;
        };
        let same =
            own.frame.bytes == other.frame.bytes && own.frame.position == other.frame.position;
        if same {
            own.to.extend(other.to.iter().copied());
            own.to.sort_unstable();
        }
        same
    }

    /// Notes that what follows on the session belongs to the same change.
    pub(crate) fn mark_more(&mut self) {
        match self {
            Self::ToSeveral(several) => several.more = true,
            Self::End(_, end) => end.more = true,
            Self::Frame(..) | Self::Opened { .. } => {}
        }
    }

    /// Whether it is for a channel.
    pub(crate) fn is_for(&self, channel: ChannelId) -> bool {
        match self {
            Self::Frame(id, _) | Self::Opened { channel: id, .. } | Self::End(id, _) => {
                *id == channel
            }
            Self::ToSeveral(several) => several.to.contains(&channel),
        }
    }

    /// Whether all channels that it is for are such.
    pub(crate) fn is_only_for(&self, is: impl Fn(ChannelId) -> bool) -> bool {
        match self {
            Self::Frame(id, _) | Self::Opened { channel: id, .. } | Self::End(id, _) => is(*id),
            Self::ToSeveral(several) => several.to.iter().all(|id| is(*id)),
        }
    }

    /// Whether a channel begins here that is held back from here on.
    pub(super) fn holds_back(&self) -> bool {
        matches!(
            self,
            Self::Opened {
                catches_up: true,
                ..
            }
        )
    }

    /// Leaves out some of the channels.
    pub(crate) fn leave_out(&mut self, is: impl Fn(ChannelId) -> bool) {
        if let Self::ToSeveral(several) = self {
            several.to.retain(|id| !is(*id));
        }
    }

    /// Splits off the part for some of the channels; `None` if it is for none of them, or for no others.
    pub(super) fn split(&mut self, is: impl Fn(ChannelId) -> bool) -> Option<Self> {
        let Self::ToSeveral(several) = self else {
            return None;
        };
        let split: SmallVec<[ChannelId; 4]> =
            several.to.iter().copied().filter(|id| is(*id)).collect();
        if split.is_empty() || split.len() == several.to.len() {
            return None;
        }
        several.to.retain(|id| !is(*id));
        Some(Self::ToSeveral(Box::new(ToSeveral {
            to: split,
            ..(**several).clone()
        })))
    }

    /// Takes back what was split off.
    pub(super) fn join(&mut self, part: Self) {
        if let (Self::ToSeveral(several), Self::ToSeveral(part)) = (self, part) {
            several.to.extend(part.to);
            several.to.sort_unstable();
        }
    }
}

#[cfg(test)]
impl Entry {
    /// Returns a copy; `None` of the beginning of a channel, which cannot be copied.
    pub(crate) fn copy(&self) -> Option<Self> {
        match self {
            Self::Frame(id, frame) => Some(Self::Frame(*id, Arc::clone(frame))),
            Self::ToSeveral(several) => Some(Self::ToSeveral(several.clone())),
            Self::End(id, end) => Some(Self::End(*id, end.clone())),
            Self::Opened { .. } => None,
        }
    }
}
