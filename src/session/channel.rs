//! The channels of a session: one subscription each, with its acknowledgements, its replay and its end.

mod catching_up;
mod turns;

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

pub(super) use self::catching_up::{CatchUp, Greeting, Progress, Together};
use super::acks::Acks;
use crate::{
    carrier::Outbound,
    position::Position,
    protocol::{ChannelId, Frame},
    router::{
        Attached, Incarnation,
        outbox::{End, Entry},
        registry::AliveGuard,
    },
};

/// One subscription on a session. It catches up first, if the client was away, and then is live until it ends. A node
/// may have a million of them, nearly all of which are live and quiet.
pub(super) struct Channel {
    id: ChannelId,
    pub(super) acks: Acks,
    pub(super) catch_up: Option<Box<CatchUp>>,
    /// The client's name for it, where the session has many.
    pub(super) handle: Option<Arc<str>>,
    /// True if it is of what the client brought: there is nothing to acknowledge.
    pub(super) adhoc: bool,
    /// Its place in the session's order, where that has many. It is held back while it catches up.
    pub(super) order: Order,
    /// True once its last words are queued.
    has_ended: bool,
    /// True once its client wants no more of it. Its end is on the way.
    pub(super) is_leaving: bool,
    /// Dropped when the kernel has taken the channel's last bytes, or with the session.
    alive: Option<AliveGuard>,
}

/// The place of a channel in the order that the live channels of a session share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// It is to get what others were taken past while it caught up. `cut`: it gets nothing more but its end.
    Late { cut: bool },
    /// It stands ahead of the shared order, which has to come there first.
    Aligning,
    /// It shares the order.
    Shared,
    /// It gets nothing more but its end.
    Cut,
}

impl Channel {
    /// Returns a channel as the router has attached it. `resumed` says whether delivery begins at the acknowledged
    /// position.
    pub(super) fn new(attached: &Attached, resumed: bool) -> Self {
        let incarnation = Some(Arc::clone(&attached.incarnation));
        let mut channel = Self::at(attached.key.id, incarnation, attached.start.from, resumed);
        channel.acks.allow(attached.may_ack);
        channel
    }

    pub(super) fn at(
        id: ChannelId,
        incarnation: Option<Arc<Incarnation>>,
        from: Position,
        resumed: bool,
    ) -> Self {
        Self {
            id,
            acks: Acks::new(incarnation, from, resumed),
            catch_up: None,
            handle: None,
            adhoc: false,
            order: Order::Shared,
            has_ended: false,
            is_leaving: false,
            alive: None,
        }
    }
}

/// The part by which a full list of channels grows.
const GROWTH_PART: usize = 8;

/// The channels of one session, by their ids. Nearly all sessions have one, which takes no memory of its own.
#[derive(Default)]
pub(super) struct Channels {
    all: SmallVec<[Channel; 1]>,
    /// The number of replays.
    replays: usize,
    /// The id of the channel whose replay has gone on last.
    last_replay: Option<ChannelId>,
}

impl Channels {
    /// Adds a channel, on which nothing is sent yet. Delivery begins behind `from`.
    pub(super) fn add(&mut self, channel: Channel, from: Position, outbound: &mut Outbound) {
        outbound.add_channel(channel.id, from);
        self.replays += usize::from(channel.catch_up.is_some());
        if self.all.len() == self.all.capacity() {
            // Sessions keep their channels. Room that stays empty would cost as much as they do.
            self.all.reserve_exact(1 + self.all.len() / GROWTH_PART);
        }
        // Ids only rise.
        self.all.push(channel);
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Channel> {
        self.all.iter_mut()
    }

    pub(super) fn iter_all(&self) -> impl Iterator<Item = &Channel> {
        self.all.iter()
    }

    fn place(&self, id: ChannelId) -> Option<usize> {
        self.all
            .binary_search_by_key(&id, |channel| channel.id)
            .ok()
    }

    pub(super) fn get(&self, id: ChannelId) -> Option<&Channel> {
        self.all.get(self.place(id)?)
    }

    /// Returns the client's name for a channel.
    pub(super) fn handle(&self, id: ChannelId) -> Option<&str> {
        self.get(id)?.handle.as_deref()
    }

    pub(super) fn get_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        let at = self.place(id)?;
        self.all.get_mut(at)
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
            // Only sessions with handles get these: `order`.
            Entry::ToSeveral(_) | Entry::Opened { .. } => return,
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
            let is_back = |id| is_held_back(self, id);
            if !entry.is_only_for(is_back) {
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
        let at = self.place(id)?;
        let channel = self.all.remove(at);
        self.replays -= usize::from(channel.catch_up.is_some());
        Some(channel)
    }

    /// Gives every replay a new turn.
    pub(super) fn begin_turn(&mut self) {
        if self.replays == 0 {
            return;
        }
        for catch_up in self.catch_ups() {
            catch_up.replay.begin_turn();
        }
    }

    /// Returns the bytes that replays hold.
    pub(super) fn held(&self) -> usize {
        if self.replays == 0 {
            return 0;
        }
        let catch_ups = self.all.iter().filter_map(|c| c.catch_up.as_deref());
        catch_ups.map(|catch_up| catch_up.replay.held()).sum()
    }

    fn catch_ups(&mut self) -> impl Iterator<Item = &mut CatchUp> {
        let all = self.all.iter_mut();
        all.filter_map(|channel| channel.catch_up.as_deref_mut())
    }

    /// Returns the number of replays.
    pub(super) fn replays(&self) -> usize {
        self.replays
    }

    /// Takes out the replay of a channel; `None` if that is live.
    pub(super) fn take_replay(&mut self, id: ChannelId) -> Option<Box<CatchUp>> {
        let taken = self.get_mut(id)?.catch_up.take();
        self.replays -= usize::from(taken.is_some());
        taken
    }

    /// Puts back a replay that goes on.
    pub(super) fn put_back(&mut self, id: ChannelId, catch_up: Box<CatchUp>) {
        if let Some(channel) = self.get_mut(id) {
            channel.catch_up = Some(catch_up);
            self.replays += 1;
        }
    }

    pub(super) fn catches_up(&self, id: ChannelId) -> bool {
        self.get(id)
            .is_some_and(|channel| channel.catch_up.is_some())
    }

    pub(super) fn any_catches_up(&self) -> bool {
        self.replays > 0
    }

    pub(super) fn all_catch_up(&self) -> bool {
        self.replays == self.all.len()
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

    /// Returns the channels that are live.
    pub(super) fn live(&self) -> impl Iterator<Item = ChannelId> {
        let live = self
            .all
            .iter()
            .filter(|c| c.is_live() && c.order == Order::Shared);
        live.map(Channel::id)
    }

    /// Forgets what is still to be replayed.
    pub(super) fn drop_replays(&mut self) {
        for channel in &mut self.all {
            channel.catch_up = None;
        }
        self.replays = 0;
    }
}

impl Channel {
    pub(super) fn id(&self) -> ChannelId {
        self.id
    }

    /// Whether its last words are queued.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Notes that its last words are queued.
    pub(super) fn set_ended(&mut self) {
        self.has_ended = true;
    }

    /// Takes what tells others that it is not closed yet.
    pub(super) fn hold(&mut self, alive: AliveGuard) {
        self.alive = Some(alive);
    }

    /// Whether others are taken past its entries.
    pub(super) fn is_held_back(&self) -> bool {
        self.catch_up.is_some() || matches!(self.order, Order::Late { .. })
    }

    /// Whether it waits for the shared order to come to where it stands.
    pub(super) fn is_aligning(&self) -> bool {
        self.catch_up.is_none() && self.order == Order::Aligning && !self.has_ended
    }

    /// Whether it gets nothing more but its end.
    pub(super) fn is_cut(&self) -> bool {
        matches!(self.order, Order::Cut | Order::Late { cut: true }) || self.has_ended
    }

    /// Whether it shares the order of the session's live channels.
    pub(super) fn is_shared(&self) -> bool {
        self.catch_up.is_none() && self.order == Order::Shared && !self.has_ended
    }

    /// Whether it gets what comes through the outbox.
    pub(super) fn is_live(&self) -> bool {
        self.catch_up.is_none() && !self.has_ended
    }
}
