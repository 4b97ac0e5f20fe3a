//! A router's registry, some sessions with their channels, and the clients at their other ends.
//!
//! The registry, the outboxes, the channels and what waits to be written are the real ones. The loops around them
//! (`Router`, `Session`) are played here step by step, so that a test decides what happens first.

mod client;
mod credentials;
mod digest;

use bson::Timestamp;

pub(super) use self::client::{Channel, Client, State};
use self::{
    client::{Happened, frame_of},
    credentials::{LIFE, caller, time},
};
use crate::{
    position::Position,
    positions::Pending,
    protocol::Ending,
    router::{
        Incarnation,
        outbox::{Bounds, Pushed, Sender, outbox},
        registry::{ChannelKey, Closes, NewChannel, NewSession, Phase, Registry},
    },
};

/// The kind of channel that a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Kind {
    /// Gets what comes from now on, and is told of gaps.
    Live,
    /// The same, but ends at a gap.
    EndsOnGap,
    /// Gets the past first.
    Replays,
}

/// One thing that happens somewhere. Sessions are named by their number, channels by their number on their session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// A client connects to a subscription: a session that closes with its channel.
    Open(u8, Kind),
    /// A client connects for many subscriptions; it has a channel on one so far.
    OpenMany(u8, Kind),
    /// Such a client opens another channel.
    OpenChannel(usize, u8, Kind),
    /// The router applies a change that concerns nobody.
    Pass,
    /// The router routes an event of a subscription; where there is no room, the client is slow.
    Route(u8),
    /// The same with two events in one piece.
    RouteRun(u8),
    /// Something could not be carried.
    Gap,
    /// The router applies a delete.
    Delete(u8),
    /// The node stops: so many sessions end.
    Stop(usize),
    /// The router decides that a session ends.
    Decide(usize, Ending),
    /// The router decides that one channel of a session ends.
    DecideChannel(usize, usize, Ending),
    /// The router hears of what a session has found.
    Hear(usize),
    /// The router applies a delete, and an insert under the same id in the same batch.
    Recreate(u8),
    /// The router answers a channel that replays: here is all that is left, and it is live.
    Answer(usize, usize),
    /// That channel looks through the answer.
    Deliver(usize, usize),
    /// The client acknowledges what it has read on a channel.
    Ack(usize, usize),
    /// It is time for a ping: positions may go with the feed.
    Ping(usize),
    /// A session takes frames of about so many bytes, or its end.
    Take(usize, usize),
    /// The socket takes so many bytes.
    Write(usize, usize),
    /// A session finds a reason to end.
    Find(usize, Ending),
    /// It looks for the verdict.
    Look(usize),
    /// The router applies a revocation of a client's credential.
    Revoke(usize),
    /// The router's timer: the first credential of a session ends.
    Expire,
    /// The router takes a refresh of a session's credential, at the time of the last change.
    Refresh(usize),
}

/// An entry of the log: its number, the subscription that it concerns (all, if none), its text.
type Logged = (u32, Option<u8>, String);

/// All of it.
pub(super) struct World {
    pub(super) registry: Registry<u8>,
    pub(super) clients: Vec<Client>,
    bounds: Bounds,
    /// True if clients hang on credentials, which end.
    credentials: bool,
    now: u32,
    /// The positions of the durable subscriptions, which all are.
    pending: Pending,
    /// The numbers at which the subscriptions that there are were made.
    made: [u32; 4],
    /// Everything that happened so far.
    log: Vec<Logged>,
}

fn at(now: u32) -> Position {
    Position::at(Timestamp {
        time: now,
        increment: 0,
    })
}

/// The text of a delete in the log.
const DELETED: &str = "deleted";

fn incarnation(subscription: u8, since: u32) -> Incarnation {
    Incarnation {
        id: subscription.to_string().as_str().into(),
        since: at(since),
    }
}

impl World {
    /// Nobody is connected; outboxes will hold so much.
    pub(super) fn new(bounds: Bounds) -> Self {
        let mut world = Self {
            registry: Registry::default(),
            clients: Vec::new(),
            bounds,
            credentials: false,
            now: 1,
            pending: Pending::default(),
            made: [1; 4],
            log: Vec::new(),
        };
        for subscription in 0..4 {
            world.make(subscription);
        }
        world
    }

    /// The same, in which every client has a credential of its own. A change is as old as its number says.
    pub(super) fn with_credentials(bounds: Bounds) -> Self {
        Self {
            credentials: true,
            ..Self::new(bounds)
        }
    }

    /// A subscription is made where the feed is.
    fn make(&mut self, subscription: u8) {
        self.made[usize::from(subscription)] = self.now;
        let incarnation = incarnation(subscription, self.now);
        self.pending.begun(incarnation, at(self.now));
    }

    /// Returns up to where the position of a subscription was moved, and where it was made; `None` if it is gone.
    pub(super) fn position(&self, subscription: u8) -> Option<(u32, u32)> {
        let known = self.pending.known(&subscription.to_string())?;
        Some((
            known.cluster_time().time,
            self.made[usize::from(subscription)],
        ))
    }

    /// Does what a step says, if that can happen now.
    pub(super) fn apply(&mut self, step: Step) {
        match step {
            Step::Open(subscription, kind) => {
                self.open(subscription, kind, Closes::WithItsChannel);
            }
            Step::OpenMany(subscription, kind) => self.open(subscription, kind, Closes::Alone),
            Step::OpenChannel(at, subscription, kind) => self.open_channel(at, subscription, kind),
            Step::Pass => self.begin_change(),
            Step::Route(subscription) => self.route(subscription, 1),
            Step::RouteRun(subscription) => self.route(subscription, 2),
            Step::Gap => self.gap(),
            Step::Delete(subscription) => self.delete(subscription),
            Step::Stop(most) => self.stop(most),
            Step::Decide(at, ending) => self.decide(at, ending),
            Step::DecideChannel(at, channel, ending) => self.decide_channel((at, channel), ending),
            Step::Hear(at) => {
                if let Some(found) = self.clients[at].found.take() {
                    self.decide(at, found);
                }
            }
            Step::Recreate(subscription) => {
                self.delete(subscription);
                self.begin_change();
                self.make(subscription);
            }
            Step::Answer(at, channel) => self.answer(at, channel),
            Step::Deliver(at, channel) => self.clients[at].deliver(channel, &self.log),
            Step::Ack(at, channel) => self.ack(at, channel),
            Step::Ping(at) => self.ping(at),
            Step::Take(at, bytes) => self.clients[at].take(bytes),
            Step::Write(at, bytes) => self.clients[at].write(bytes),
            Step::Find(at, ending) => self.clients[at].find(ending),
            Step::Look(at) => self.clients[at].look(),
            Step::Revoke(at) if self.credentials => self.revoke(at),
            Step::Expire => {
                if let Some(end) = self.registry.next_credential_end() {
                    self.expire(end);
                }
            }
            Step::Refresh(at) if self.credentials => self.refresh(at),
            // Nobody has a credential.
            Step::Revoke(_) | Step::Refresh(_) => {}
        }
    }

    fn open(&mut self, subscription: u8, kind: Kind, closes: Closes) {
        if self.position(subscription).is_none() {
            return;
        }
        let (sender, outbox) = outbox(self.bounds);
        let mut new = NewSession {
            closes,
            ..NewSession::on(sender)
        };
        let end = self.credentials.then_some(self.now + LIFE);
        if let Some(end) = end {
            new.caller = caller(self.clients.len(), end);
        }
        let key = self.registry.open_session(new);
        self.registry.credential_ends(key, end.map(time));
        self.clients.push(Client::new(key, closes, outbox, end));
        self.open_channel(self.clients.len() - 1, subscription, kind);
    }

    fn open_channel(&mut self, client: usize, subscription: u8, kind: Kind) {
        let made = self.position(subscription).map(|(_, made)| made);
        let running = self.clients[client].state == State::Running;
        let (Some(since), true) = (made, running) else {
            return;
        };
        let new = NewChannel {
            close_on_gap: kind == Kind::EndsOnGap,
            from: at(self.now),
            phase: if kind == Kind::Replays {
                Phase::CatchingUp
            } else {
                Phase::Live
            },
            ..NewChannel::live()
        };
        let session = self.clients[client].key;
        let Some(key) = self.registry.open_channel(session, subscription, new) else {
            return;
        };
        let socket = &self.registry.session(session).expect("it runs").new.closed;
        let (closed, alive) = (socket.of(key.id), socket.guard(key.id));
        let channel = Channel::new(key, subscription, kind, self.now, since, closed);
        self.clients[client].add(channel, incarnation(subscription, since), alive);
    }

    /// Decides that a session ends; the registry's answer says whether it was the first to.
    fn decide(&mut self, client: usize, ending: Ending) {
        let key = self.clients[client].key;
        let first = self.registry.end_session(key, ending, at(self.now));
        self.clients[client].note_decided(first, ending);
    }

    /// The same of one channel.
    fn decide_channel(&mut self, (client, channel): (usize, usize), ending: Ending) {
        let key = self.clients[client].channels[channel].key;
        let first = self.registry.end_channel(key, ending, at(self.now));
        self.clients[client].note_channel_decided(channel, first, ending);
    }

    /// Returns the numbers of a channel's session and of the channel there.
    fn number_of(&self, key: ChannelKey) -> (usize, usize) {
        let client = self.clients.iter().position(|of| of.key == key.session);
        let client = client.expect("the registry has no others");
        let channels = self.clients[client].channels.iter();
        let channel = channels.map(|channel| channel.key).position(|of| of == key);
        (client, channel.expect("the registry has no others"))
    }

    fn route(&mut self, subscription: u8, events: u32) {
        let first = self.now + 1;
        if self.credentials && events > 1 {
            // Somebody's end may lie between them.
            return (0..events).for_each(|_| self.route(subscription, 1));
        }
        self.begin_change();
        let numbers = first..first + events;
        self.now = first + events - 1;
        let happened: Vec<Happened> = numbers.map(|number| (number, number.to_string())).collect();
        for (number, text) in &happened {
            self.log.push((*number, Some(subscription), text.clone()));
        }
        self.owe(Some(subscription), &happened);
        let all = self.registry.of(subscription).iter();
        let live = all.filter(|c| c.gets(at(self.now)));
        let to: Vec<_> = live.map(|c| (c.key, c.outbox.clone())).collect();
        self.push_to(to, &happened);
    }

    /// Those that replay are to get it from the past, as long as their subscription is there: whoever has ended
    /// meanwhile gets it too, or does not get that far.
    fn owe(&mut self, subscription: Option<u8>, happened: &[Happened]) {
        let made: Vec<Option<u32>> = (0..4)
            .map(|of| self.position(of).map(|(_, made)| made))
            .collect();
        for channel in self.clients.iter_mut().flat_map(|c| &mut c.channels) {
            let of = channel.subscription;
            let concerns = subscription.is_none_or(|subscription| subscription == of);
            let there = made[usize::from(of)] == Some(channel.since);
            if concerns && there && channel.is_to_replay() {
                channel.due.extend_from_slice(happened);
            }
        }
    }

    fn push_to(&mut self, to: Vec<(ChannelKey, Sender)>, happened: &[Happened]) {
        for (key, outbox) in to {
            let (client, channel) = self.number_of(key);
            let frame = frame_of(channel, happened);
            match outbox.push(key.id, &frame) {
                Pushed::Queued(_) => {
                    let channel = &mut self.clients[client].channels[channel];
                    channel.due.extend_from_slice(happened);
                }
                Pushed::Full => self.decide(client, Ending::SlowConsumer),
                Pushed::Closed => {}
            }
        }
    }

    /// Does what `Router::tell_gap` does.
    fn gap(&mut self) {
        let before = self.now;
        self.begin_change();
        let text = format!("gap {}", self.now);
        self.log.push((self.now, None, text.clone()));
        let deaf = self.registry.channels().filter(|c| c.ends_on_gap());
        let deaf: Vec<_> = deaf.map(|c| c.key).collect();
        for key in deaf {
            let first = self.registry.end_channel(key, Ending::Resync, at(before));
            let (client, channel) = self.number_of(key);
            self.clients[client].note_channel_decided(channel, first, Ending::Resync);
        }
        self.owe(None, &[(self.now, text.clone())]);
        let live = self.registry.channels().filter(|c| c.is_live());
        let to: Vec<_> = live.map(|c| (c.key, c.outbox.clone())).collect();
        self.push_to(to, &[(self.now, text)]);
    }

    fn delete(&mut self, subscription: u8) {
        self.begin_change();
        self.log
            .push((self.now, Some(subscription), DELETED.to_owned()));
        self.pending
            .ended(subscription.to_string().as_str().into(), at(self.now));
        let of_it = self.registry.of(subscription).iter();
        let keys: Vec<_> = of_it.map(|c| c.key).collect();
        let ended = self
            .registry
            .end_channels_of(subscription, Ending::Deleted, at(self.now));
        assert_eq!(ended.len(), keys.len());
        for key in keys {
            let (client, channel) = self.number_of(key);
            self.clients[client].note_channel_decided(channel, true, Ending::Deleted);
        }
    }

    fn stop(&mut self, most: usize) {
        self.registry.end_some(most, Ending::Shutdown, at(self.now));
        self.note_ended(Ending::Shutdown);
    }

    /// The router's answer about the past holds all there is.
    fn answer(&mut self, client: usize, channel: usize) {
        let client = &mut self.clients[client];
        let running = client.state == State::Running;
        let channel = &mut client.channels[channel];
        if running && channel.replaying && channel.answer.is_none() {
            channel.answer = Some((self.log.len(), self.now));
            self.registry.make_live(channel.key, at(self.now));
        }
    }

    /// The client has handled everything that it has read on a channel, and says so.
    fn ack(&mut self, client: usize, channel: usize) {
        let client = &mut self.clients[client];
        let Some(read) = client.last_read(channel) else {
            return;
        };
        let acks = client.real.iter_mut();
        let key = client.channels[channel].key;
        let sent = client.outbound.queued(key.id).unwrap_or(Position::START);
        let Some(own) = acks.into_iter().find(|own| own.id() == key.id) else {
            return;
        };
        if client.state != State::Running {
            return;
        }
        let acknowledged = own.acks.acknowledge(at(read), sent, at(self.now));
        let to = acknowledged.expect("nothing is read that was not sent");
        let channel = &mut client.channels[channel];
        channel.acked = channel.acked.max(read);
        if self.pending.acknowledged(own.acks.incarnation(), to) {
            channel.moved_to = to.cluster_time().time;
        }
    }

    /// Positions go with the feed, where nothing is on its way to the channel.
    fn ping(&mut self, client: usize) {
        let client = &mut self.clients[client];
        if client.state != State::Running {
            return;
        }
        for real in client.real.iter_mut() {
            let of_it = client.channels.iter_mut().find(|c| c.key.id == real.id());
            let channel = of_it.expect("it is one of these");
            let caught_up =
                !channel.replaying && real.is_live() && client.outbox.has_nothing_for(real.id());
            if caught_up
                && real.acks.is_caught_up()
                && self
                    .pending
                    .acknowledged(real.acks.incarnation(), at(self.now))
            {
                channel.moved_to = self.now;
            }
        }
    }

    /// Lets everything that is under way come to its end.
    pub(super) fn settle(&mut self) {
        for client in 0..self.clients.len() {
            self.apply(Step::Hear(client));
        }
        self.stop(usize::MAX);
        for client in 0..self.clients.len() {
            self.apply(Step::Look(client));
            for _ in 0..3 {
                self.apply(Step::Take(client, usize::MAX));
                for channel in 0..self.clients[client].channels.len() {
                    self.apply(Step::Answer(client, channel));
                    self.apply(Step::Deliver(client, channel));
                }
            }
            while !self.clients[client].outbound.is_empty() {
                self.apply(Step::Write(client, 1_000));
            }
        }
    }
}
