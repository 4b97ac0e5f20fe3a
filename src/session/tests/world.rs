//! A router's registry, some connections, and the clients at their other ends.
//!
//! The registry, the outboxes and what waits to be written are the real ones. The loops around them
//! (`Router`, `Connection`) are played here step by step, so that a test decides what happens first.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bson::Timestamp;

use super::super::acks::Acks;
use crate::{
    carrier::Outbound,
    position::Position,
    positions::Pending,
    protocol::{Dialect, Ending, Frame, Message},
    router::{
        Incarnation,
        outbox::{Bounds, End, Pushed, Receiver, Sender, Taken, outbox},
        registry::{ConnectionKey, NewConnection, Phase, Registry},
    },
};

/// What kind of connection a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Kind {
    /// Gets what comes from now on, and is told of gaps.
    Live,
    /// The same, but ends at a gap.
    EndsOnGap,
    /// Gets the past first.
    Replays,
}

/// One thing that happens somewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// A client of a subscription connects.
    Open(u8, Kind),
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
    /// The node stops: so many connections end.
    Stop(usize),
    /// The router decides that a connection ends.
    Decide(usize, Ending),
    /// The router hears of what a connection has found.
    Hear(usize),
    /// The router applies a delete, and an insert under the same id in the same batch.
    Recreate(u8),
    /// The router answers a connection that replays: here is all that is left, and it is live.
    Answer(usize),
    /// That connection looks through the answer.
    Deliver(usize),
    /// It is time for a ping: a position may go with the feed.
    Ping(usize),
    /// A connection takes frames of about so many bytes, or its end.
    Take(usize, usize),
    /// The socket takes so many bytes.
    Write(usize, usize),
    /// A connection finds a reason to end.
    Find(usize, Ending),
    /// It looks for the verdict.
    Look(usize),
}

/// What a connection is doing.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum State {
    Running,
    /// It has told the registry what it found, and waits.
    Asking,
    Ended(End),
}

/// A connection, and the client at its other end.
pub(super) struct Client {
    pub(super) key: ConnectionKey,
    pub(super) subscription: u8,
    pub(super) kind: Kind,
    from: u32,
    pub(super) outbox: Receiver,
    pub(super) outbound: Outbound,
    pub(super) state: State,
    pub(super) replaying: bool,
    /// What the router answered: how much of the log, and up to where.
    pub(super) answer: Option<(usize, u32)>,
    /// Where the subscription of this connection was made.
    since: u32,
    acks: Acks,
    /// How far it has moved the position.
    pub(super) moved_to: u32,
    /// The subscription was deleted during the replay, which goes on to there.
    postponed: Option<End>,
    /// On its way to the router.
    pub(super) found: Option<Ending>,
    /// What the registry decided first.
    pub(super) decided: Option<Ending>,
    /// What the client ought to get, by its number.
    pub(super) due: Vec<Happened>,
    /// Whether it found a reason to end while it went on to the point of a delete.
    pub(super) cut_short: bool,
    /// Whether frames were refused because the connection had found something.
    pub(super) missed: bool,
    read: Vec<u8>,
}

/// All of it.
pub(super) struct World {
    pub(super) registry: Registry<u8>,
    pub(super) clients: Vec<Client>,
    bounds: Bounds,
    now: u32,
    /// What is kept of the durable subscriptions, which all are, and where those there are were made.
    pending: Pending,
    made: [u32; 4],
    /// What happened so far: its number, the subscription it concerns (all, if none), its text.
    log: Vec<(u32, Option<u8>, String)>,
}

fn at(now: u32) -> Position {
    Position::at(Timestamp {
        time: now,
        increment: 0,
    })
}

fn bare(text: &str) -> Message<'static> {
    Message::bare_event("", text.to_owned())
}

/// What the log says of a delete.
const DELETED: &str = "deleted";

fn incarnation(subscription: u8, since: u32) -> Incarnation {
    Incarnation {
        id: subscription.to_string().as_str().into(),
        since: at(since),
    }
}

/// Something that happened: its number, and its text.
type Happened = (u32, String);

fn frame(text: &str, number: u32) -> Arc<Frame> {
    let frame = Frame::notice(&bare(text), Dialect::CloudEvents, at(number));
    Arc::new(frame)
}

/// One frame of one or more.
fn frame_of(happened: &[Happened]) -> Arc<Frame> {
    let frames = happened.iter().map(|(number, text)| frame(text, *number));
    match &frames.collect::<Vec<_>>()[..] {
        [alone] => Arc::clone(alone),
        frames => Arc::new(Frame::run(frames)),
    }
}

fn noop() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

impl World {
    /// Nobody is connected; outboxes will hold so much.
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            registry: Registry::default(),
            clients: Vec::new(),
            bounds,
            now: 1,
            pending: Pending::default(),
            made: [1; 4],
            log: Vec::new(),
        }
        .with_subscriptions()
    }

    fn with_subscriptions(mut self) -> Self {
        for subscription in 0..self.made.len() {
            self.make(u8::try_from(subscription).unwrap());
        }
        self
    }

    /// A subscription is made where the feed is.
    fn make(&mut self, subscription: u8) {
        self.made[usize::from(subscription)] = self.now;
        let incarnation = incarnation(subscription, self.now);
        self.pending.begun(incarnation, at(self.now));
    }

    /// Up to where the position of a subscription was moved, and where it was made; `None` if it is gone.
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
            Step::Open(subscription, kind) => self.open(subscription, kind),
            Step::Pass => self.now += 1,
            Step::Route(subscription) => self.route(subscription, 1),
            Step::RouteRun(subscription) => self.route(subscription, 2),
            Step::Gap => self.gap(),
            Step::Delete(subscription) => self.delete(subscription),
            Step::Stop(most) => self.stop(most),
            Step::Decide(at, ending) => self.decide(at, ending),
            Step::Hear(at) => {
                if let Some(found) = self.clients[at].found.take() {
                    self.decide(at, found);
                }
            }
            Step::Recreate(subscription) => {
                self.delete(subscription);
                self.now += 1;
                self.make(subscription);
            }
            Step::Answer(at) => self.answer(at),
            Step::Deliver(at) => self.clients[at].deliver(&self.log),
            Step::Ping(at) => self.ping(at),
            Step::Take(at, bytes) => self.clients[at].take(bytes),
            Step::Write(at, bytes) => self.clients[at].write(bytes),
            Step::Find(at, ending) => self.clients[at].find(ending),
            Step::Look(at) => self.clients[at].look(),
        }
    }

    fn open(&mut self, subscription: u8, kind: Kind) {
        if self.position(subscription).is_none() {
            return;
        }
        let (sender, outbox) = outbox(self.bounds);
        let replaying = kind == Kind::Replays;
        let from = at(self.now);
        let new = NewConnection {
            close_on_gap: kind == Kind::EndsOnGap,
            from,
            phase: if replaying {
                Phase::CatchingUp
            } else {
                Phase::Live
            },
            ..NewConnection::live(sender)
        };
        let key = self.registry.open(subscription, new);
        self.clients.push(Client {
            key,
            subscription,
            kind,
            outbox,
            from: self.now,
            outbound: Outbound::new(from),
            state: State::Running,
            replaying,
            answer: None,
            since: self.made[usize::from(subscription)],
            acks: Acks::new(
                incarnation(subscription, self.made[usize::from(subscription)]),
                from,
                kind == Kind::Live,
            ),
            moved_to: 0,
            postponed: None,
            found: None,
            decided: None,
            due: Vec::new(),
            cut_short: false,
            missed: false,
            read: Vec::new(),
        });
    }

    /// Decides that a connection ends; the registry's answer says whether it was the first to.
    fn decide(&mut self, client: usize, ending: Ending) {
        let key = self.clients[client].key;
        let ended = self.registry.end(key, ending, at(self.now));
        self.note(client, ended.is_some(), ending);
    }

    fn note(&mut self, client: usize, first: bool, ending: Ending) {
        let decided = &mut self.clients[client].decided;
        assert_eq!(first, decided.is_none(), "only the first decision counts");
        decided.get_or_insert(ending);
    }

    fn position_of(&self, key: ConnectionKey) -> usize {
        let position = self.clients.iter().position(|client| client.key == key);
        position.expect("the registry has no others")
    }

    fn route(&mut self, subscription: u8, events: u32) {
        let numbers = self.now + 1..=self.now + events;
        self.now += events;
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

    /// Those that replay are to get it from the past, as long as their subscription is there: whoever has
    /// ended meanwhile gets it too, or does not get that far.
    fn owe(&mut self, subscription: Option<u8>, happened: &[Happened]) {
        for client in 0..self.clients.len() {
            let of = self.clients[client].subscription;
            let there = self.position(of).map(|(_, made)| made);
            let client = &mut self.clients[client];
            let concerns = subscription.is_none_or(|subscription| subscription == of);
            let to_come = client.replaying && client.answer.is_none();
            if concerns && to_come && there == Some(client.since) {
                client.due.extend_from_slice(happened);
            }
        }
    }

    fn push_to(&mut self, to: Vec<(ConnectionKey, Sender)>, happened: &[Happened]) {
        let frame = frame_of(happened);
        for (key, outbox) in to {
            let client = self.position_of(key);
            match outbox.push(&frame) {
                Pushed::Queued(_) => self.clients[client].due.extend_from_slice(happened),
                Pushed::Full => self.decide(client, Ending::SlowConsumer),
                Pushed::Closed => {}
            }
        }
    }

    /// What `Router::tell_gap` does.
    fn gap(&mut self) {
        self.now += 1;
        let text = format!("gap {}", self.now);
        self.log.push((self.now, None, text.clone()));
        let deaf = self.registry.all().filter(|c| c.ends_on_gap());
        let deaf: Vec<_> = deaf.map(|c| c.key).collect();
        for key in deaf {
            self.decide(self.position_of(key), Ending::Resync);
        }
        self.owe(None, &[(self.now, text.clone())]);
        let live = self.registry.all().filter(|c| c.phase == Phase::Live);
        let to: Vec<_> = live.map(|c| (c.key, c.outbox.clone())).collect();
        self.push_to(to, &[(self.now, text)]);
    }

    fn delete(&mut self, subscription: u8) {
        self.now += 1;
        self.log
            .push((self.now, Some(subscription), DELETED.to_owned()));
        self.pending
            .ended(subscription.to_string().as_str().into(), at(self.now));
        let of_it = self.registry.of(subscription).iter();
        let keys: Vec<_> = of_it.map(|c| c.key).collect();
        let ended = self
            .registry
            .end_all_of(subscription, Ending::Deleted, at(self.now));
        assert_eq!(ended.len(), keys.len());
        for key in keys {
            self.note(self.position_of(key), true, Ending::Deleted);
        }
    }

    fn stop(&mut self, most: usize) {
        self.registry.end_some(most, Ending::Shutdown, at(self.now));
        let open: Vec<_> = self.registry.all().map(|c| c.key).collect();
        for client in &mut self.clients {
            if !open.contains(&client.key) {
                client.decided.get_or_insert(Ending::Shutdown);
            }
        }
    }

    /// The router's answer about the past holds all there is.
    fn answer(&mut self, at_client: usize) {
        let client = &mut self.clients[at_client];
        if client.state == State::Running && client.replaying && client.answer.is_none() {
            client.answer = Some((self.log.len(), self.now));
            self.registry.make_live(client.key, at(self.now));
        }
    }

    /// The position goes with the feed, where nothing is on its way to the connection.
    fn ping(&mut self, at_client: usize) {
        let client = &mut self.clients[at_client];
        let caught_up = !client.replaying && client.outbox.is_empty();
        if client.state == State::Running && caught_up && client.acks.is_caught_up() {
            let moved = self
                .pending
                .acknowledged(client.acks.incarnation(), at(self.now));
            if moved {
                client.moved_to = self.now;
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
                self.apply(Step::Answer(client));
                self.apply(Step::Deliver(client));
            }
            while !self.clients[client].outbound.is_empty() {
                self.apply(Step::Write(client, 1_000));
            }
        }
    }

    /// The same for two worlds in which the same can happen from here on: what was read and checked
    /// does not matter any more, and of positions only how they lie to what is still to come.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for subscription in 0..2u8 {
            let of_it = self.registry.of(subscription).iter();
            let of_it: Vec<_> = of_it.map(|c| (self.position_of(c.key), c.phase)).collect();
            of_it.hash(&mut hasher);
        }
        for client in &self.clients {
            if matches!(client.state, State::Ended(_)) && client.outbound.is_empty() {
                continue;
            }
            client.hash_into(&mut hasher);
            if client.replaying {
                let limit = client.postponed.map(|end| end.position);
                let length = client.answer.map(|(length, _)| length);
                let past = self.log.iter().enumerate();
                let past: Vec<_> = past
                    .filter(|(_, entry)| client.wants(entry))
                    .map(|(n, (number, _, text))| {
                        let kind = (text.starts_with("gap"), text == DELETED);
                        let before = limit.is_some_and(|limit| at(*number) < limit);
                        (kind, before, length.is_some_and(|length| n < length))
                    })
                    .collect();
                (past, length.is_some()).hash(&mut hasher);
            }
            let current = self.made[usize::from(client.subscription)] == client.since;
            let known = self.position(client.subscription);
            let ahead = known.is_some_and(|(known, _)| known == self.now);
            (current, known.is_some(), ahead, client.acks.is_caught_up()).hash(&mut hasher);
        }
        hasher.finish()
    }
}

impl Client {
    /// Looks through what the router answered, up to the point where its subscription was deleted.
    fn deliver(&mut self, log: &[(u32, Option<u8>, String)]) {
        if self.state != State::Running {
            return;
        }
        let Some((length, up_to)) = self.answer.take() else {
            return;
        };
        let end = self.postponed.take();
        let mut limit = end.map_or(u32::MAX, |end| end.position.cluster_time().time);
        for entry @ (number, _, text) in &log[..length] {
            if !self.wants(entry) || *number >= limit {
                continue;
            }
            if text == DELETED {
                limit = *number;
                continue;
            }
            let owed = self.due.iter().any(|(due, _)| due == number);
            assert!(owed, "{text} is not of this subscription");
            self.outbound.push_shared(frame(text, *number));
        }
        self.outbound.pass(at(up_to.min(limit)));
        self.replaying = false;
        if let Some(end) = end {
            self.end(end);
        }
    }

    /// Whether the subscription it is connected to is this one.
    pub(super) fn is_of(&self, subscription: u8, since: u32) -> bool {
        (self.subscription, self.since) == (subscription, since)
    }

    /// Whether something in the log is for it.
    fn wants(&self, (number, subscription, _): &(u32, Option<u8>, String)) -> bool {
        let concerns = subscription.is_none_or(|subscription| subscription == self.subscription);
        concerns && *number > self.from
    }

    fn hash_into(&self, hasher: &mut DefaultHasher) {
        let (texts, _) = self.texts();
        let rank = |position: Position| {
            let up_to_it = self
                .due
                .iter()
                .filter(|(number, _)| at(*number) <= position);
            up_to_it.count().saturating_sub(texts.len())
        };
        let end = |end: End| (end.ending, end.drain, rank(end.position));
        let (frames, intake, (given, verdict)) = self.outbox.shape();
        let (parts, queued, taken) = self.outbound.shape();
        let frames = frames.into_iter();
        let frames: Vec<_> = frames.map(|(at, messages)| (rank(at), messages)).collect();
        let parts: Vec<_> = parts
            .into_iter()
            .map(|(position, messages, len)| (position.map(rank), messages, len))
            .collect();
        let gaps = self.due.iter().map(|(_, text)| text.starts_with("gap"));
        let unread: Vec<bool> = gaps.skip(texts.len()).collect();
        (self.subscription, self.kind, self.replaying, self.missed).hash(hasher);
        (self.found, self.decided, unread, frames, intake).hash(hasher);
        (parts, rank(queued), rank(taken)).hash(hasher);
        match self.state {
            State::Running => 0.hash(hasher),
            State::Asking => 1.hash(hasher),
            State::Ended(decided) => end(decided).hash(hasher),
        }
        (self.postponed.map(end), given, verdict.map(end)).hash(hasher);
    }

    fn take(&mut self, bytes: usize) {
        if self.state != State::Running {
            return;
        }
        if self.replaying {
            self.take_end();
            return;
        }
        let mut frames = Vec::new();
        match self.outbox.poll_take(&noop(), bytes, &mut frames) {
            Poll::Ready(Taken::Frames { .. }) => {
                for frame in frames {
                    self.outbound.push_shared(frame);
                }
            }
            Poll::Ready(Taken::End(end)) => self.end(end),
            Poll::Pending => {}
        }
    }

    /// A replay looks for its end only, and goes on to the point of a delete.
    fn take_end(&mut self) {
        if self.postponed.is_some() {
            return;
        }
        match self.outbox.poll_end(&noop()) {
            Poll::Ready(end) if end.ending == Ending::Deleted => self.postponed = Some(end),
            Poll::Ready(end) => self.end(end),
            Poll::Pending => {}
        }
    }

    fn find(&mut self, found: Ending) {
        if self.state != State::Running {
            return;
        }
        if let Some(end) = self.postponed {
            self.cut_short = true;
            return self.end(End {
                drain: false,
                ..end
            });
        }
        self.outbox.stop();
        self.found = Some(found);
        self.state = State::Asking;
    }

    fn look(&mut self) {
        if self.state == State::Asking
            && let Poll::Ready(end) = self.outbox.poll_end(&noop())
        {
            self.end(end);
        }
    }

    fn end(&mut self, end: End) {
        assert_eq!(
            Some(end.ending),
            self.decided,
            "the first reason, and no other"
        );
        // What waits lies behind what it has not got of the past.
        let waiting = if self.replaying {
            Vec::new()
        } else {
            self.outbox.drain()
        };
        self.missed = self.outbox.missed();
        let complete = !self.missed && !self.replaying;
        let position = self.outbound.conclude(end, waiting, complete);
        let ended = format!("ended {}", position.cluster_time().time);
        self.outbound
            .push(bare(&ended).encode(Dialect::CloudEvents));
        self.outbox.close();
        self.state = State::Ended(end);
    }

    fn write(&mut self, bytes: usize) {
        let mut slices = [std::io::IoSlice::new(&[]); 8];
        let count = self.outbound.lay_out(&mut slices);
        let all = slices[..count]
            .iter()
            .flat_map(|slice| slice.iter().copied());
        let written: Vec<u8> = all.take(bytes).collect();
        self.outbound.advance(written.len());
        self.read.extend(written);
    }

    /// The texts of the whole frames that the client has read, and whether half a one follows.
    pub(super) fn texts(&self) -> (Vec<String>, bool) {
        let mut rest = self.read.as_slice();
        let mut texts = Vec::new();
        while let [0x81, len, after @ ..] = rest {
            let Some((text, next)) = after.split_at_checked(usize::from(*len)) else {
                break;
            };
            texts.push(String::from_utf8(text.to_vec()).unwrap());
            rest = next;
        }
        (texts, !rest.is_empty())
    }
}
