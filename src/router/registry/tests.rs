use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;
use crate::{
    protocol::Whose,
    router::outbox::{Bounds, Entry, Receiver, Taken, outbox},
};

/// A session as a test knows it.
struct Opened {
    key: SessionKey,
    closes: Closes,
    receiver: Receiver,
    /// The ending that the registry decided first.
    ended: Option<Ending>,
}

/// A channel as a test knows it.
struct OpenedChannel {
    key: ChannelKey,
    session: usize,
    subscription: u8,
    ended: Option<Ending>,
}

#[derive(Clone, Debug)]
enum Step {
    OpenSession(bool),
    OpenChannel(usize, u8, usize),
    MakeLive(usize),
    Copied(u8, usize),
    EndChannel(usize, Ending),
    EndSession(usize, Ending),
    EndChannelsOf(u8),
    EndSome(usize),
}

fn endings(of: impl Fn(Whose) -> bool) -> impl Strategy<Value = Ending> {
    let all = Ending::ALL.into_iter();
    prop::sample::select(all.filter(|ending| of(ending.whose())).collect::<Vec<_>>())
}

fn step() -> impl Strategy<Value = Step> {
    let of_channels = endings(Whose::is_of_channels);
    let of_sessions = endings(Whose::is_of_sessions);
    let at = any::<usize>;
    prop_oneof![
        4 => any::<bool>().prop_map(Step::OpenSession),
        6 => (at(), 0u8..4, 0usize..9).prop_map(|(at, of, bytes)| Step::OpenChannel(at, of, bytes)),
        1 => at().prop_map(Step::MakeLive),
        1 => (0u8..4, 0usize..9).prop_map(|(of, bytes)| Step::Copied(of, bytes)),
        4 => (at(), of_channels).prop_map(|(at, ending)| Step::EndChannel(at, ending)),
        2 => (at(), of_sessions).prop_map(|(at, ending)| Step::EndSession(at, ending)),
        1 => (0u8..4).prop_map(Step::EndChannelsOf),
        1 => (0usize..4).prop_map(Step::EndSome),
    ]
}

/// A registry, and everything that was ever opened in it.
#[derive(Default)]
struct World {
    registry: Registry<u8>,
    sessions: Vec<Opened>,
    channels: Vec<OpenedChannel>,
}

impl World {
    fn apply(&mut self, step: &Step) {
        match *step {
            Step::OpenSession(with_its_channel) => self.open_session(with_its_channel),
            Step::OpenChannel(at, subscription, copy_bytes) if !self.sessions.is_empty() => {
                self.open_channel(at % self.sessions.len(), subscription, copy_bytes);
            }
            Step::MakeLive(at) if !self.channels.is_empty() => {
                let key = self.channels[at % self.channels.len()].key;
                self.registry.make_live(key, Position::START);
            }
            Step::Copied(subscription, bytes) => self.registry.copied(subscription, bytes),
            Step::EndChannel(at, ending) if !self.channels.is_empty() => {
                let at = at % self.channels.len();
                let first = self.channels[at].ended.is_none();
                let key = self.channels[at].key;
                let ended = self.registry.end_channel(key, ending, Position::START);
                assert_eq!(ended, first, "a channel ends once");
                self.channel_ended(at, ending);
            }
            Step::EndSession(at, ending) if !self.sessions.is_empty() => {
                let at = at % self.sessions.len();
                let first = self.sessions[at].ended.is_none();
                let key = self.sessions[at].key;
                let ended = self.registry.end_session(key, ending, Position::START);
                assert_eq!(ended, first, "a session ends once");
                self.session_ended(at, ending);
            }
            Step::EndChannelsOf(subscription) => {
                let of_it = |channel: &OpenedChannel| {
                    channel.subscription == subscription && channel.ended.is_none()
                };
                let all = 0..self.channels.len();
                let ending: Vec<usize> = all.filter(|at| of_it(&self.channels[*at])).collect();
                let closed =
                    self.registry
                        .end_channels_of(subscription, Ending::Deleted, Position::START);
                assert_eq!(closed.len(), ending.len());
                for at in ending {
                    self.channel_ended(at, Ending::Deleted);
                }
            }
            Step::EndSome(most) => {
                let open = self.registry.len();
                self.registry
                    .end_some(most, Ending::Shutdown, Position::START);
                assert_eq!(self.registry.len(), open.saturating_sub(most));
                for at in 0..self.sessions.len() {
                    if self.registry.session(self.sessions[at].key).is_none() {
                        self.session_ended(at, Ending::Shutdown);
                    }
                }
            }
            _ => {}
        }
    }

    fn open_session(&mut self, with_its_channel: bool) {
        let (sender, receiver) = outbox(Bounds {
            frames: 8,
            bytes: 1024,
        });
        let closes = if with_its_channel {
            Closes::WithItsChannel
        } else {
            Closes::Alone
        };
        let new = NewSession {
            closes,
            ..NewSession::on(sender)
        };
        self.sessions.push(Opened {
            key: self.registry.open_session(new),
            closes,
            receiver,
            ended: None,
        });
    }

    fn open_channel(&mut self, session: usize, subscription: u8, copy_bytes: usize) {
        let opened = &self.sessions[session];
        let has_one = self.channels.iter().any(|of| of.session == session);
        if opened.closes == Closes::WithItsChannel && has_one {
            return;
        }
        let phase = if copy_bytes > 0 {
            Phase::CatchingUp
        } else {
            Phase::Live
        };
        let new = NewChannel {
            phase,
            copy_bytes,
            ..NewChannel::live()
        };
        let key = self.registry.open_channel(opened.key, subscription, new);
        assert_eq!(key.is_some(), opened.ended.is_none());
        self.channels.extend(key.map(|key| OpenedChannel {
            key,
            session,
            subscription,
            ended: None,
        }));
    }

    fn channel_ended(&mut self, at: usize, ending: Ending) {
        let channel = &mut self.channels[at];
        if channel.ended.is_none() {
            channel.ended = Some(ending);
            let session = channel.session;
            if self.sessions[session].closes == Closes::WithItsChannel {
                self.session_ended(session, ending);
            }
        }
    }

    fn session_ended(&mut self, at: usize, ending: Ending) {
        if self.sessions[at].ended.is_some() {
            return;
        }
        self.sessions[at].ended = Some(ending);
        for channel in &mut self.channels {
            if channel.session == at {
                channel.ended.get_or_insert(ending);
            }
        }
    }

    /// Checks that every session and channel was told its first ending and no other, and was counted once.
    fn check(&self) {
        let sessions = self.sessions.iter().map(|session| session.ended);
        check_counters(self.registry.counters(), &sessions.collect::<Vec<_>>());
        let channels = self.channels.iter().map(|channel| channel.ended);
        check_counters(
            self.registry.channel_counters(),
            &channels.collect::<Vec<_>>(),
        );
        let (mut open, mut copied) = (0, 0);
        for channel in self.registry.channels() {
            copied += channel.copy_bytes();
            open += 1;
            let of = self.registry.subscription_of(channel.key).unwrap();
            let found = self.registry.of(of).iter().filter(|c| c.key == channel.key);
            assert_eq!(found.count(), 1, "it is found where it is");
        }
        assert_eq!(self.registry.copied_bytes(), copied);
        assert_eq!(self.registry.channel_counters().open, open);
        for (at, session) in self.sessions.iter().enumerate() {
            self.check_told(at, session);
        }
    }

    /// Checks the ends that a session finds in its outbox.
    fn check_told(&self, at: usize, session: &Opened) {
        let cx = Context::from_waker(Waker::noop());
        let mut taken = Vec::new();
        let took = session
            .receiver
            .poll_take(&cx, usize::MAX, |_| false, &mut taken);
        let told = match took {
            Poll::Ready(Taken::End(end)) => {
                taken.extend(session.receiver.drain());
                Some(end.ending)
            }
            _ => None,
        };
        assert_eq!(told, session.ended);
        let own = self.channels.iter().filter(|channel| channel.session == at);
        let of_channels = taken.iter().filter_map(|entry| match entry {
            Entry::End(id, end) => Some((*id, end.ending)),
            Entry::Frame(..) | Entry::ToSeveral(..) | Entry::Opened { .. } => None,
        });
        let of_channels: Vec<_> = of_channels.collect();
        for channel in own {
            let told = of_channels.iter().filter(|(id, _)| *id == channel.key.id);
            let told: Vec<Ending> = told.map(|(_, ending)| *ending).collect();
            // A session that drops what waits says for all of them that it ends.
            let dropped = session.ended.is_some_and(|ending| !ending.drains());
            match channel.ended {
                Some(ending) if !told.is_empty() => assert_eq!(told, [ending]),
                Some(ending) => assert!(dropped || session.ended == Some(ending)),
                None => assert!(told.is_empty()),
            }
        }
    }
}

fn check_counters(counters: ConnectionCounters, ended: &[Option<Ending>]) {
    for ending in Ending::ALL {
        let count = ended.iter().filter(|ended| **ended == Some(ending)).count();
        assert_eq!(counters.closed(ending), count as u64, "{ending:?}");
    }
    assert_eq!(counters.opened, ended.len() as u64);
    assert_eq!(counters.opened, counters.open + counters.closed_in_all());
}

proptest! {
    /// Whatever races, each session and each channel is told exactly one ending, the first, and the counters agree with
    /// what was told.
    #[test]
    fn every_session_and_every_channel_ends_once_for_one_reason(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut world = World::default();
        for step in &steps {
            world.apply(step);
        }
        world.check();
    }
}

fn opened(closes: Closes) -> (Registry<u8>, SessionKey, Receiver) {
    let (sender, receiver) = outbox(Bounds {
        frames: 8,
        bytes: 1024,
    });
    let mut registry = Registry::default();
    let session = registry.open_session(NewSession {
        closes,
        ..NewSession::on(sender)
    });
    (registry, session, receiver)
}

#[test]
fn the_end_of_a_channel_leaves_the_others_of_its_session_alone() {
    let (mut registry, session, _receiver) = opened(Closes::Alone);
    let open = |registry: &mut Registry<u8>, subscription| {
        let channel = registry.open_channel(session, subscription, NewChannel::live());
        channel.unwrap()
    };
    let (first, second) = (open(&mut registry, 1), open(&mut registry, 2));
    assert!(registry.end_channel(first, Ending::Deleted, Position::START));
    assert!(!registry.end_channel(first, Ending::Resync, Position::START));
    assert_eq!(registry.subscription_of(second), Some(2));
    assert!(registry.session(session).is_some());
    assert_eq!(registry.counters().open, 1);
}

#[test]
fn the_end_of_the_only_channel_of_today_s_socket_is_its_own() {
    let (mut registry, session, _receiver) = opened(Closes::WithItsChannel);
    let channel = registry.open_channel(session, 1, NewChannel::live());
    assert!(registry.end_channel(channel.unwrap(), Ending::Deleted, Position::START));
    assert!(registry.session(session).is_none());
    assert_eq!(registry.counters().closed(Ending::Deleted), 1);
}
