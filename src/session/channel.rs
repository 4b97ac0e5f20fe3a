//! The channels of a session: one subscription each, with its acknowledgements, its replay and its end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use smallvec::SmallVec;

use super::{acks::Acks, replay::Replay};
use crate::{
    carrier::Outbound,
    position::Position,
    protocol::{ChannelId, Frame, GapReason},
    router::{
        Attached, Incarnation,
        outbox::{End, Entry},
        registry::AliveGuard,
    },
};

/// One subscription on a session. It catches up first, if the client was away, and then is live until it ends.
pub(super) struct Channel {
    id: ChannelId,
    pub(super) acks: Acks,
    pub(super) catch_up: Option<Box<CatchUp>>,
    /// True once its last words are queued.
    has_ended: bool,
    /// Dropped when the kernel has taken the channel's last bytes, or with the session.
    alive: Option<AliveGuard>,
}

/// The time before a channel is live.
pub(super) struct CatchUp {
    pub(super) replay: Replay,
    pub(super) begun: Instant,
    /// Frames that the replay has just found.
    pub(super) frames: Vec<Arc<Frame>>,
    /// The `connected` message, held back until it is known whether everything will come.
    pub(super) greeting: Option<Greeting>,
    pub(super) ends_on_gap: bool,
}

/// The contents of the `connected` message.
pub(super) struct Greeting {
    pub(super) connection: String,
    pub(super) subscription: String,
    pub(super) from: Position,
    /// The reason why something before that is missing, if it is, and the cursor after which it is.
    pub(super) gap: Option<(GapReason, Option<String>)>,
}

impl Channel {
    /// Returns a channel as the router has attached it. `resumed` says whether delivery begins at the acknowledged
    /// position.
    pub(super) fn new(incarnation: Incarnation, attached: &Attached, resumed: bool) -> Self {
        let mut channel = Self::at(attached.key.id, incarnation, attached.start.from, resumed);
        channel.acks.allow(attached.may_ack);
        channel
    }

    pub(super) fn at(
        id: ChannelId,
        incarnation: Incarnation,
        from: Position,
        resumed: bool,
    ) -> Self {
        Self {
            id,
            acks: Acks::new(incarnation, from, resumed),
            catch_up: None,
            has_ended: false,
            alive: None,
        }
    }
}

/// The channels of one session. Nearly all sessions have one, which takes no memory of its own.
#[derive(Default)]
pub(super) struct Channels {
    all: SmallVec<[Channel; 1]>,
    /// The index of the channel whose replay goes on next.
    next_replay: usize,
}

impl Channels {
    /// Adds a channel, on which nothing is sent yet.
    pub(super) fn add(&mut self, channel: Channel, outbound: &mut Outbound) {
        outbound.add_channel(channel.id, channel.acks.from());
        self.all.push(channel);
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Channel> {
        self.all.iter_mut()
    }

    fn get_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.all.iter_mut().find(|channel| channel.id == id)
    }

    /// Has a channel hold what tells others that it is not closed yet.
    pub(super) fn keep_alive(&mut self, id: ChannelId, alive: AliveGuard) {
        if let Some(channel) = self.get_mut(id) {
            channel.alive = Some(alive);
        }
    }

    /// Queues a frame of a channel, and notes what its client is to acknowledge.
    pub(super) fn queue_frame(
        &mut self,
        id: ChannelId,
        frame: Arc<Frame>,
        outbound: &mut Outbound,
    ) {
        if let Some(channel) = self.get_mut(id) {
            channel.acks.sent(frame.position, frame.event_at.is_some());
        }
        outbound.push_shared(id, frame);
    }

    /// Queues an entry of the outbox. `last_words` encodes what the client gets as the last of a channel, on which it
    /// stands at the given position then.
    pub(super) fn queue(
        &mut self,
        entry: Entry,
        outbound: &mut Outbound,
        last_words: impl FnOnce(ChannelId, End, Option<Position>) -> Bytes,
    ) {
        let (id, end) = match entry {
            Entry::Frame(id, frame) => return self.queue_frame(id, frame, outbound),
            Entry::End(id, end) => (id, *end),
        };
        if let Some(channel) = self.get_mut(id) {
            channel.has_ended = true;
        }
        if end.drain {
            outbound.advance_to(id, end.position);
        }
        let bytes = last_words(id, end, outbound.queued(id));
        outbound.push_channel_end(id, bytes);
    }

    /// Makes of what is queued what the client still gets at the end of its session: everything that `waits` too, if the
    /// end drains, else no more than the message that was begun. `missed`: something between `waits` and the end was
    /// left out. Returns the position up to which the client then has everything of all channels.
    pub(super) fn conclude(
        &mut self,
        end: End,
        waits: Vec<Entry>,
        missed: bool,
        is_held_back: impl Fn(&Self, ChannelId) -> bool,
        outbound: &mut Outbound,
        last_words: impl Fn(ChannelId, End, Option<Position>) -> Bytes,
    ) -> Option<Position> {
        if !end.drain {
            outbound.discard();
            return outbound.queued_of_all();
        }
        for entry in waits {
            // A channel that catches up goes on from where it was: what waits may lie behind events that it has not got.
            if !is_held_back(self, entry.channel()) {
                self.queue(entry, outbound, &last_words);
            }
        }
        for channel in self.all.iter().filter(|channel| !channel.has_ended) {
            if !missed && !is_held_back(self, channel.id) {
                outbound.advance_to(channel.id, end.position);
            }
        }
        outbound.queued_of_all()
    }

    /// Removes a channel whose last bytes were taken. Its guard falls with it.
    pub(super) fn remove(&mut self, id: ChannelId) -> Option<Channel> {
        let at = self.all.iter().position(|channel| channel.id == id)?;
        Some(self.all.swap_remove(at))
    }

    /// Gives every replay a new turn.
    pub(super) fn begin_turn(&mut self) {
        for catch_up in self.catch_ups() {
            catch_up.replay.begin_turn();
        }
    }

    /// Returns the bytes that replays hold.
    pub(super) fn held(&self) -> usize {
        let catch_ups = self.all.iter().filter_map(|c| c.catch_up.as_deref());
        catch_ups.map(|catch_up| catch_up.replay.held()).sum()
    }

    fn catch_ups(&mut self) -> impl Iterator<Item = &mut CatchUp> {
        let all = self.all.iter_mut();
        all.filter_map(|channel| channel.catch_up.as_deref_mut())
    }

    /// Returns the number of channels.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Takes out the replay of the channel whose turn it is; `None` if that is live.
    pub(super) fn take_next_replay(&mut self) -> Option<(ChannelId, Box<CatchUp>)> {
        let at = self.next_replay % self.all.len().max(1);
        self.next_replay = at + 1;
        let channel = self.all.get_mut(at)?;
        Some((channel.id, channel.catch_up.take()?))
    }

    /// Takes out the replay of a channel; `None` if that is live.
    pub(super) fn take_replay(&mut self, id: ChannelId) -> Option<Box<CatchUp>> {
        self.get_mut(id)?.catch_up.take()
    }

    /// Puts back a replay that goes on.
    pub(super) fn put_back(&mut self, id: ChannelId, catch_up: Box<CatchUp>) {
        if let Some(channel) = self.get_mut(id) {
            channel.catch_up = Some(catch_up);
        }
    }

    /// Notes that a channel's client is told everything up to `position`, though no event stands there.
    pub(super) fn sent(&mut self, id: ChannelId, position: Position) {
        if let Some(channel) = self.get_mut(id) {
            channel.acks.sent(position, false);
        }
    }

    pub(super) fn catches_up(&self, id: ChannelId) -> bool {
        let channel = self.all.iter().find(|channel| channel.id == id);
        channel.is_some_and(|channel| channel.catch_up.is_some())
    }

    pub(super) fn any_catches_up(&self) -> bool {
        self.all.iter().any(|channel| channel.catch_up.is_some())
    }

    pub(super) fn all_catch_up(&self) -> bool {
        self.all.iter().all(|channel| channel.catch_up.is_some())
    }

    /// Whether the first message of every channel is queued.
    pub(super) fn are_greeted(&self) -> bool {
        let mut catch_ups = self.all.iter().filter_map(|c| c.catch_up.as_deref());
        catch_ups.all(|catch_up| catch_up.greeting.is_none())
    }

    /// Sets whether the caller may move the acknowledged position of a channel's subscription.
    pub(super) fn allow_acks(&mut self, id: ChannelId, allowed: bool) {
        if let Some(channel) = self.get_mut(id) {
            channel.acks.allow(allowed);
        }
    }

    /// Returns the time by which the oldest replay has to be over, if there is one.
    pub(super) fn replay_deadline(&self, timeout: Duration) -> Option<Instant> {
        let catch_ups = self.all.iter().filter_map(|c| c.catch_up.as_deref());
        catch_ups.map(|catch_up| catch_up.begun + timeout).min()
    }

    /// Forgets what is still to be replayed.
    pub(super) fn drop_replays(&mut self) {
        for channel in &mut self.all {
            channel.catch_up = None;
        }
    }
}

impl Channel {
    pub(super) fn id(&self) -> ChannelId {
        self.id
    }

    /// Whether it gets what comes through the outbox.
    pub(super) fn is_live(&self) -> bool {
        self.catch_up.is_none() && !self.has_ended
    }
}
