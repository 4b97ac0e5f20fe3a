//! The channels of a session: one subscription each, with its acknowledgements, its replay and its end.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    Outcome, Outgoing, ROUND_BYTES, Session,
    acks::Acks,
    replay::{Beginning, Found, Replay},
};
use crate::{
    carrier::Outbound,
    position::{Cursor, Position},
    protocol::{ChannelId, Ending, Frame, GapReason, Message},
    router::{
        Attached, Incarnation,
        outbox::{End, Entry},
        registry::{AliveGuard, ends_on_gap},
    },
    telemetry::Metrics,
};

/// One subscription on a session. It catches up first, if the client was away, and then is live until it ends.
pub(super) struct Channel {
    id: ChannelId,
    pub(super) acks: Acks,
    catch_up: Option<Box<CatchUp>>,
    /// True once its last words are queued.
    has_ended: bool,
    /// Dropped when the kernel has taken the channel's last bytes, or with the session.
    alive: Option<AliveGuard>,
}

/// The time before a channel is live.
struct CatchUp {
    replay: Replay,
    begun: Instant,
    /// Frames that the replay has just found.
    frames: Vec<Arc<Frame>>,
    /// The `connected` message, held back until it is known whether everything will come.
    greeting: Option<Greeting>,
    ends_on_gap: bool,
}

/// The contents of the `connected` message.
struct Greeting {
    connection: String,
    subscription: String,
    from: Position,
    /// The reason why something before that is missing, if it is, and the cursor after which it is.
    gap: Option<(GapReason, Option<String>)>,
}

impl Channel {
    /// Returns a channel as the router has attached it. `resumed` says whether delivery begins at the acknowledged
    /// position.
    pub(super) fn new(incarnation: Incarnation, attached: &Attached, resumed: bool) -> Self {
        Self::at(attached.key.id, incarnation, attached.start.from, resumed)
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

    /// Returns the time by which the oldest replay has to be over, if there is one.
    pub(super) fn replay_deadline(&self, timeout: Duration) -> Option<Instant> {
        let catch_ups = self.all.iter().filter_map(|c| c.catch_up.as_deref());
        catch_ups.map(|catch_up| catch_up.begun + timeout).min()
    }

    /// Makes every replay stop at `position`; false if there is none.
    pub(super) fn stop_replays_at(&mut self, position: Position) -> bool {
        let mut any = false;
        for catch_up in self.catch_ups() {
            catch_up.replay.stop_at(position);
            any = true;
        }
        any
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

impl Session {
    /// Adds a channel: queues its greeting before everything else of it, or prepares its replay.
    pub(super) fn begin(
        &mut self,
        mut channel: Channel,
        attached: &Attached,
        after: Option<Cursor>,
        close_on_gap: bool,
    ) {
        let after = after.map(|after| after.position.cursor(after.deployment));
        let greeting = Greeting {
            connection: attached.id.clone(),
            subscription: attached.subscription.to_json(),
            from: attached.start.from,
            gap: attached.start.gap.map(|reason| (reason, after)),
        };
        let ends_on_gap = ends_on_gap(self.dialect, close_on_gap);
        if attached.start.replay {
            channel.catch_up = Some(Box::new(CatchUp {
                replay: self.replay(attached, ends_on_gap),
                begun: Instant::now(),
                frames: Vec::new(),
                greeting: Some(greeting),
                ends_on_gap,
            }));
        } else {
            self.greet(&greeting, true);
        }
        self.channels.add(channel, self.transport.outbound());
    }

    fn replay(&self, attached: &Attached, ends_on_gap: bool) -> Replay {
        Replay::new(Beginning {
            key: attached.key,
            dialect: self.dialect,
            context: Arc::clone(&self.context),
            subscription: attached.subscription.clone(),
            ends_on_gap,
            from: attached.start.from,
            attached_at: attached.start.attached_at,
        })
    }

    /// Queues the first message of a channel, and the gap that was known before it. `whole`: everything that is
    /// replayed will come.
    fn greet(&mut self, greeting: &Greeting, whole: bool) {
        let recovered = whole && greeting.gap.is_none();
        if self.dialect.has_messages() {
            let cursor = greeting.from.cursor(self.context.router.deployment());
            let Greeting {
                connection,
                subscription,
                ..
            } = greeting;
            self.say(&Message::connected(
                connection,
                subscription,
                &cursor,
                recovered,
            ));
        }
        if let Some((reason, after)) = &greeting.gap {
            self.tell_gap(*reason, after.as_deref(), greeting.from);
        }
    }

    fn tell_gap(&mut self, reason: GapReason, after: Option<&str>, cursor: Position) {
        if self.dialect.has_messages() {
            let cursor = cursor.cursor(self.context.router.deployment());
            self.say(&Message::gap(reason, after, &cursor));
        }
    }

    /// Goes on with one of the replays, now that everything queued was written. They take turns.
    pub(super) fn poll_replays(&mut self, cx: &mut Context<'_>) -> Outgoing {
        // Where some channel is live, the session's end comes with the entries that are taken for it.
        if self.postponed.is_none()
            && self.channels.all_catch_up()
            && let Poll::Ready(end) = self.outbox.poll_end(cx)
            && let Some(end) = self.postpone(end)
        {
            return Outgoing::Ends(Outcome::Ended(end));
        }
        if let Some(postponed) = &mut self.postponed
            && let Some(end) = postponed.poll_stopping(cx)
        {
            return Outgoing::Ends(Outcome::Ended(end));
        }
        for _ in 0..self.channels.all.len() {
            let at = self.channels.next_replay % self.channels.all.len();
            self.channels.next_replay = at + 1;
            match self.poll_replay(cx, at) {
                Outgoing::Idle => {}
                outgoing => return outgoing,
            }
        }
        Outgoing::Idle
    }

    fn poll_replay(&mut self, cx: &mut Context<'_>, at: usize) -> Outgoing {
        let channel = &mut self.channels.all[at];
        let id = channel.id;
        let Some(mut catch_up) = channel.catch_up.take() else {
            return Outgoing::Idle;
        };
        let end = self.postponed.as_deref().map(|postponed| postponed.end);
        // Last words are heard: the replay goes on to the point of the channel's end, which then comes through the
        // outbox in its place.
        let own_end = self.outbox.end_of(id);
        if let Some(end) = own_end {
            catch_up.replay.stop_at(end.position.next());
        }
        let is_cut = own_end.is_some_and(|end| !end.drain);
        if is_cut || (end.is_some() || own_end.is_some()) && catch_up.replay.is_over() {
            return over(end);
        }
        let found = catch_up.replay.poll(cx, ROUND_BYTES, &mut catch_up.frames);
        let Poll::Ready(found) = found else {
            self.channels.all[at].catch_up = Some(catch_up);
            return Outgoing::Idle;
        };
        match self.on_found(id, &mut catch_up, &found) {
            Ok(true) => over(end),
            Ok(false) => {
                self.channels.all[at].catch_up = Some(catch_up);
                Outgoing::More
            }
            Err(ending) => {
                self.channels.all[at].catch_up = Some(catch_up);
                Outgoing::Ends(Outcome::Found(ending))
            }
        }
    }

    /// Acts on the outcome of a replay; true when it is done. An error is a reason to end.
    fn on_found(
        &mut self,
        id: ChannelId,
        catch_up: &mut CatchUp,
        found: &Found,
    ) -> Result<bool, Ending> {
        let lost = matches!(found, Found::Gap(..) | Found::Lacking);
        if !matches!(found, Found::Unavailable)
            && let Some(greeting) = catch_up.greeting.take()
        {
            self.greet(&greeting, !lost);
        }
        for frame in catch_up.frames.drain(..) {
            #[cfg(test)]
            super::fault::strike(&frame);
            let outbound = self.transport.outbound();
            self.channels.queue_frame(id, frame, outbound);
        }
        let outbound = self.transport.outbound();
        match *found {
            Found::Unavailable => Err(Ending::Overloaded),
            Found::Untold => Err(Ending::Resync),
            Found::Gap(..) | Found::Lacking if catch_up.ends_on_gap => Err(Ending::Resync),
            Found::Lacking => Ok(false),
            Found::Gap(reason, after, cursor) => {
                outbound.advance_to(id, cursor);
                let after = after.cursor(self.context.router.deployment());
                self.tell_gap(reason, Some(&after), cursor);
                if let Some(channel) = self.channels.get_mut(id) {
                    channel.acks.sent(cursor, false);
                }
                Ok(false)
            }
            Found::Frames => {
                outbound.advance_to(id, catch_up.replay.done());
                Ok(false)
            }
            Found::Live(position) => {
                outbound.advance_to(id, position);
                Metrics::observe(
                    &self.context.metrics.replay.duration,
                    catch_up.begun.elapsed(),
                );
                Ok(true)
            }
        }
    }
}

/// The past of a channel is over: the session ends, if that was decided meanwhile, or goes on with the outbox.
fn over(postponed: Option<End>) -> Outgoing {
    postponed.map_or(Outgoing::More, |end| Outgoing::Ends(Outcome::Ended(end)))
}
