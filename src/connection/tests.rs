//! Whatever races: one ending, told last, with a cursor up to which nothing is missing.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bson::Timestamp;
use proptest::prelude::*;

use super::writing::Writing;
use crate::{
    position::Position,
    protocol::{Dialect, Ending, Frame, Message},
    router::{
        outbox::{Bounds, End, Pushed, Receiver, Taken, outbox},
        registry::{ConnectionKey, NewConnection, Registry},
    },
};

/// One thing that happens somewhere.
#[derive(Clone, Debug)]
enum Step {
    /// The router applies a change that concerns nobody.
    Pass,
    /// The router routes an event; where there is no room, the client is slow.
    Route,
    /// The router decides that the connection ends.
    Decide(Ending),
    /// The router hears of what the connection has found.
    Hear,
    /// The connection takes frames of about so many bytes, or its end.
    Take(usize),
    /// The socket takes so many bytes.
    Write(usize),
    /// The connection finds a reason to end.
    Find(Ending),
    /// The connection looks for the verdict.
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    use Ending::{
        BadMessage, ClientLeft, Deleted, Expired, HeartbeatMissed, InternalError, ProtocolError,
        Resync, Shutdown,
    };
    let decided = prop::sample::select(vec![Deleted, Expired, Shutdown, Resync]);
    let found = vec![
        BadMessage,
        ClientLeft,
        HeartbeatMissed,
        InternalError,
        ProtocolError,
    ];
    prop_oneof![
        2 => Just(Step::Pass),
        8 => Just(Step::Route),
        1 => decided.prop_map(Step::Decide),
        2 => Just(Step::Hear),
        5 => (1usize..40).prop_map(Step::Take),
        5 => (1usize..40).prop_map(Step::Write),
        1 => prop::sample::select(found).prop_map(Step::Find),
        2 => Just(Step::Look),
    ]
}

/// What the connection is doing.
#[derive(Clone, Copy, PartialEq, Debug)]
enum State {
    Running,
    /// It has told the registry what it found, and waits.
    Waiting,
    Ended(End),
}

/// A router with one connection, and the client at its other end.
struct World {
    registry: Registry<u8>,
    key: ConnectionKey,
    now: u32,
    /// Events that were queued for the connection.
    routed: Vec<u32>,
    heard: Option<Ending>,
    outbox: Receiver,
    writing: Writing,
    state: State,
    /// Whether frames were refused because the connection had found something.
    missed: bool,
    client: Vec<u8>,
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

fn event(text: &str, position: Position) -> Frame {
    Frame::event(&bare(text), Dialect::CloudEvents, position)
}

impl World {
    fn new() -> Self {
        let (sender, outbox) = outbox(Bounds {
            frames: 6,
            bytes: 60,
        });
        let mut registry = Registry::default();
        let key = registry.open(
            0,
            NewConnection {
                id: String::new(),
                outbox: sender,
                dialect: Dialect::Tidegate,
                close_on_gap: false,
                from: at(0),
                live: true,
                remote: String::new(),
                gone: crate::receipts::life().1,
            },
        );
        Self {
            registry,
            key,
            now: 0,
            routed: Vec::new(),
            heard: None,
            outbox,
            writing: Writing::new(at(0)),
            state: State::Running,
            missed: false,
            client: Vec::new(),
        }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Pass => self.now += 1,
            Step::Route => self.route(),
            Step::Decide(ending) => self.decide(ending),
            Step::Hear => {
                if let Some(found) = self.heard.take() {
                    self.decide(found);
                }
            }
            Step::Take(bytes) if self.state == State::Running => self.take(bytes),
            Step::Find(ending) if self.state == State::Running => self.find(ending),
            Step::Look if self.state == State::Waiting => self.look(),
            Step::Write(bytes) => self.write(bytes),
            Step::Take(_) | Step::Find(_) | Step::Look => {}
        }
    }

    fn route(&mut self) {
        self.now += 1;
        let frame = Arc::new(event(&self.now.to_string(), at(self.now)));
        let pushed = match self.registry.of(0) {
            [connection] => connection.outbox.push(&frame),
            _ => return,
        };
        match pushed {
            Pushed::Queued(_) => self.routed.push(self.now),
            Pushed::Full => self.decide(Ending::SlowConsumer),
            Pushed::Closed => {}
        }
    }

    fn decide(&mut self, ending: Ending) {
        self.registry.end(self.key, ending, at(self.now));
    }

    fn take(&mut self, bytes: usize) {
        let mut frames = Vec::new();
        let cx = Context::from_waker(Waker::noop());
        match self.outbox.poll_take(&cx, bytes, &mut frames) {
            Poll::Ready(Taken::Frames { .. }) => {
                for frame in frames {
                    self.writing.push_shared(frame);
                }
            }
            Poll::Ready(Taken::End(end)) => self.end(end),
            Poll::Pending => {}
        }
    }

    fn find(&mut self, found: Ending) {
        self.outbox.stop();
        self.heard = Some(found);
        self.state = State::Waiting;
    }

    fn look(&mut self) {
        if let Poll::Ready(end) = self.outbox.poll_end(&Context::from_waker(Waker::noop())) {
            self.end(end);
        }
    }

    fn end(&mut self, end: End) {
        let (waiting, _) = self.outbox.drain();
        self.missed = self.outbox.missed();
        let position = self.writing.conclude(end, waiting, !self.missed);
        let ended = format!("ended {}", position.cluster_time().time);
        self.writing.push(bare(&ended).encode(Dialect::CloudEvents));
        self.state = State::Ended(end);
    }

    fn write(&mut self, bytes: usize) {
        let mut slices = [std::io::IoSlice::new(&[]); 8];
        let count = self.writing.lay_out(&mut slices);
        let all: Vec<u8> = slices[..count]
            .iter()
            .flat_map(|s| s.iter().copied())
            .collect();
        let written = bytes.min(all.len());
        self.client.extend_from_slice(&all[..written]);
        self.writing.advance(written);
    }

    /// Lets everything that is under way come to its end.
    fn settle(&mut self) {
        self.apply(&Step::Hear);
        self.decide(Ending::Shutdown);
        self.apply(&Step::Look);
        while self.state == State::Running {
            self.take(usize::MAX);
        }
        while !self.writing.is_empty() {
            self.write(1000);
        }
    }

    /// The texts of the frames that the client has read; fails on half ones.
    fn texts(&self) -> Vec<String> {
        let mut rest = self.client.as_slice();
        let mut texts = Vec::new();
        while let [0x81, len, after @ ..] = rest {
            let (text, next) = after.split_at(usize::from(*len));
            texts.push(String::from_utf8(text.to_vec()).unwrap());
            rest = next;
        }
        assert!(rest.is_empty(), "half a frame: {rest:?}");
        texts
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn last_words_are_true_whatever_races(steps in prop::collection::vec(step(), 0..60)) {
        let mut world = World::new();
        for step in &steps {
            world.apply(step);
            let books = world.registry.books();
            prop_assert_eq!(books.opened, books.open + books.closed_in_all());
        }
        world.settle();
        let State::Ended(end) = world.state else {
            return Err(TestCaseError::fail(format!("{:?}", world.state)));
        };
        let books = world.registry.books();
        prop_assert_eq!((books.closed_in_all(), books.closed(end.ending)), (1, 1));

        let mut texts = world.texts();
        let ended = texts.pop().unwrap_or_default();
        let cursor: u32 = ended.strip_prefix("ended ").unwrap_or_default().parse().unwrap();
        let got: Vec<u32> = texts.iter().map(|text| text.parse().unwrap()).collect();
        prop_assert!(got.iter().all(|n| *n <= cursor), "the cursor falls: {got:?} {ended}");
        let up_to_it: Vec<u32> = world.routed.iter().copied().filter(|n| *n <= cursor).collect();
        prop_assert_eq!(&got, &up_to_it, "delivered up to the cursor, each once, in order");
        if end.drain && !world.missed {
            prop_assert_eq!(&got, &world.routed, "last words are heard");
        }
    }
}
