//! A session, and the client at its other end.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::Bytes;

use super::{DELETED, Kind, Logged, at};
use crate::{
    carrier::Outbound,
    position::Position,
    protocol::{ChannelId, Dialect, Ending, Frame, Message},
    router::{
        Incarnation,
        outbox::{End, Entry, Receiver, Taken},
        registry::{AliveGuard, ChannelKey, Closed, Closes, SessionKey},
    },
    session::channel::{self, Channels},
};

/// The states of a session.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(in crate::session::tests) enum State {
    Running,
    /// It has told the registry what it found, and waits.
    Asking,
    Ended(End),
}

/// Something that happened: its number, and its text.
pub(super) type Happened = (u32, String);

/// A channel, as the client at its other end ought to see it.
pub(in crate::session::tests) struct Channel {
    pub(in crate::session::tests) key: ChannelKey,
    pub(in crate::session::tests) subscription: u8,
    pub(super) kind: Kind,
    pub(super) from: u32,
    /// The number at which its subscription was made.
    pub(super) since: u32,
    pub(in crate::session::tests) replaying: bool,
    /// The router's answer: so much of the log, and up to this number.
    pub(in crate::session::tests) answer: Option<(usize, u32)>,
    /// The client has acknowledged everything up to here.
    pub(in crate::session::tests) acked: u32,
    /// It has moved the position to here.
    pub(in crate::session::tests) moved_to: u32,
    /// The ending that the registry decided first: its own, or its session's.
    pub(in crate::session::tests) decided: Option<Ending>,
    /// The end of this channel alone, which comes through the outbox.
    pub(super) has_own_end: bool,
    /// Everything that the client ought to get, by its number.
    pub(in crate::session::tests) due: Vec<Happened>,
    /// True if its last words were queued while it still replayed.
    pub(in crate::session::tests) ended_in_the_past: bool,
    pub(in crate::session::tests) closed: Closed,
}

impl Channel {
    pub(super) fn new(
        key: ChannelKey,
        subscription: u8,
        kind: Kind,
        from: u32,
        since: u32,
        closed: Closed,
    ) -> Self {
        Self {
            key,
            subscription,
            kind,
            from,
            since,
            replaying: kind == Kind::Replays,
            answer: None,
            acked: 0,
            moved_to: 0,
            decided: None,
            has_own_end: false,
            due: Vec::new(),
            ended_in_the_past: false,
            closed,
        }
    }

    /// Whether its subscription is the one made at `since`.
    pub(in crate::session::tests) fn is_of(&self, subscription: u8, since: u32) -> bool {
        (self.subscription, self.since) == (subscription, since)
    }

    /// Whether it gets what happens now from a replay.
    pub(super) fn is_to_replay(&self) -> bool {
        self.replaying && self.answer.is_none() && !self.has_own_end
    }

    /// Whether something in the log is for it.
    pub(super) fn wants(&self, (number, subscription, _): &Logged) -> bool {
        let concerns = subscription.is_none_or(|subscription| subscription == self.subscription);
        concerns && *number > self.from
    }
}

/// A session, and the client at its other end.
pub(in crate::session::tests) struct Client {
    pub(in crate::session::tests) key: SessionKey,
    pub(in crate::session::tests) closes: Closes,
    pub(in crate::session::tests) outbox: Receiver,
    pub(in crate::session::tests) outbound: Outbound,
    pub(in crate::session::tests) state: State,
    pub(in crate::session::tests) channels: Vec<Channel>,
    /// The same channels, as the session has them.
    pub(super) real: Channels,
    /// The only subscription was deleted during the replay, which goes on to there.
    pub(super) postponed: Option<End>,
    /// On its way to the router.
    pub(in crate::session::tests) found: Option<Ending>,
    /// The ending that the registry decided first.
    pub(in crate::session::tests) decided: Option<Ending>,
    /// Its credential ends with the change of this number.
    pub(in crate::session::tests) ends_at: Option<u32>,
    /// Its credential was revoked by the change of this number.
    pub(in crate::session::tests) revoked_at: Option<u32>,
    /// True if it found a reason to end while it went on to the point of a delete, or was cut off there.
    pub(in crate::session::tests) cut_short: bool,
    /// True if something was refused because the session had found a reason to end.
    pub(in crate::session::tests) missed: bool,
    /// The texts of the whole frames that the client has read: all of them, and those of each channel.
    pub(in crate::session::tests) texts: Vec<String>,
    by_channel: Vec<Vec<String>>,
    /// Half a frame.
    pub(in crate::session::tests) half: Vec<u8>,
}

fn noop() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn bare(text: &str) -> Message<'static> {
    Message::bare_event("", text.to_owned())
}

fn frame(channel: usize, (number, text): &Happened) -> Arc<Frame> {
    let message = bare(&format!("{channel}/{text}"));
    let event_at = (!text.starts_with("gap")).then(Instant::now);
    let bytes = message.encode(Dialect::CloudEvents);
    Arc::new(Frame::new(bytes, at(*number), event_at))
}

/// One frame of one or more.
pub(super) fn frame_of(channel: usize, happened: &[Happened]) -> Arc<Frame> {
    let frames = happened.iter().map(|one| frame(channel, one));
    match &frames.collect::<Vec<_>>()[..] {
        [alone] => Arc::clone(alone),
        frames => Arc::new(Frame::run(frames)),
    }
}

/// Encodes the last words of a channel.
fn last_words(channels: &[Channel], id: ChannelId, cursor: Option<Position>) -> Bytes {
    let number = channels.iter().position(|channel| channel.key.id == id);
    let number = number.expect("the outbox knows no others");
    let cursor = cursor.expect("it has not ended").cluster_time().time;
    bare(&format!("{number}/ended {cursor}")).encode(Dialect::CloudEvents)
}

impl Client {
    pub(super) fn new(
        key: SessionKey,
        closes: Closes,
        outbox: Receiver,
        ends_at: Option<u32>,
    ) -> Self {
        Self {
            key,
            closes,
            outbox,
            outbound: Outbound::new(),
            state: State::Running,
            channels: Vec::new(),
            real: Channels::default(),
            postponed: None,
            found: None,
            decided: None,
            ends_at,
            revoked_at: None,
            cut_short: false,
            missed: false,
            texts: Vec::new(),
            by_channel: Vec::new(),
            half: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, channel: Channel, incarnation: Incarnation, alive: AliveGuard) {
        let resumed = channel.kind == Kind::Live;
        let real = channel::Channel::at(
            channel.key.id,
            Some(Arc::new(incarnation)),
            at(channel.from),
            resumed,
        );
        self.real.add(real, at(channel.from), &mut self.outbound);
        self.real.keep_alive(channel.key.id, alive);
        self.channels.push(channel);
        self.by_channel.push(Vec::new());
    }

    /// Notes that the registry has decided that the session ends.
    pub(super) fn note_decided(&mut self, first: bool, ending: Ending) {
        assert_eq!(
            first,
            self.decided.is_none(),
            "only the first decision counts"
        );
        self.decided.get_or_insert(ending);
        if first {
            for channel in &mut self.channels {
                channel.decided.get_or_insert(ending);
            }
        }
    }

    /// The same of one channel, with which its session may close.
    pub(super) fn note_channel_decided(&mut self, channel: usize, first: bool, ending: Ending) {
        let of_it = &mut self.channels[channel];
        assert_eq!(first, of_it.decided.is_none(), "only the first counts");
        if !first {
            return;
        }
        of_it.decided = Some(ending);
        match self.closes {
            Closes::WithItsChannel => self.note_decided(true, ending),
            Closes::Alone => of_it.has_own_end = true,
        }
    }

    fn number_of(&self, id: ChannelId) -> usize {
        let found = self.channels.iter().position(|c| c.key.id == id);
        found.expect("the outbox knows no others")
    }

    /// Looks through what the router answered, up to the point where the channel ends.
    pub(super) fn deliver(&mut self, number: usize, log: &[Logged]) {
        if self.state != State::Running || self.channels[number].answer.is_none() {
            return;
        }
        // The answer may hold changes behind an end that was decided before it.
        self.take_end();
        if self.state != State::Running {
            return;
        }
        let channel = &mut self.channels[number];
        let Some((length, up_to)) = channel.answer.take() else {
            return;
        };
        channel.replaying = false;
        let own_end = self.outbox.end_of(channel.key.id);
        if own_end.is_some_and(|end| !end.drain) {
            return;
        }
        let end = self.postponed.take();
        let mut limit = (end.or(own_end)).map_or(u32::MAX, |end| end.position.cluster_time().time);
        let channel = &self.channels[number];
        let id = channel.key.id;
        for entry @ (at_number, _, text) in &log[..length] {
            if !channel.wants(entry) || *at_number > limit {
                continue;
            }
            if text == DELETED {
                limit = *at_number;
                continue;
            }
            let owed = channel.due.iter().any(|(due, _)| due == at_number);
            assert!(owed, "{text} is not of this subscription");
            let frame = frame(number, &(*at_number, text.clone()));
            self.real.queue_frame(id, frame, &mut self.outbound);
        }
        self.outbound.advance_to(id, at(up_to.min(limit)));
        if let Some(end) = end {
            self.end(end);
        }
    }

    pub(super) fn take(&mut self, bytes: usize) {
        if self.state != State::Running {
            return;
        }
        let live = self.channels.iter().filter(|channel| !channel.replaying);
        let live: Vec<ChannelId> = live.map(|channel| channel.key.id).collect();
        if live.is_empty() {
            self.take_end();
            return;
        }
        let waits = |id: &&ChannelId| !self.outbox.has_nothing_for(**id);
        let some_wait = live.iter().any(|id| waits(&id));
        let held_back = |id| !live.contains(&id);
        let mut taken = Vec::new();
        match self.outbox.poll_take(&noop(), bytes, held_back, &mut taken) {
            Poll::Ready(Taken::Entries { .. }) => {
                for entry in taken {
                    self.queue(entry);
                }
            }
            Poll::Ready(Taken::End(end)) => self.end(end),
            Poll::Pending => {
                assert!(!some_wait, "a replay holds up the other channels");
            }
        }
    }

    fn queue(&mut self, entry: Entry) {
        if let Entry::End(id, end) = &entry {
            let number = self.number_of(*id);
            let channel = &mut self.channels[number];
            assert_eq!(Some(end.ending), channel.decided, "its own reason");
            channel.ended_in_the_past = channel.replaying;
        }
        let Self {
            real,
            channels,
            outbound,
            ..
        } = self;
        real.queue(entry, outbound, |id, _, cursor| {
            last_words(channels, id, cursor)
        });
    }

    /// Looks for the end only: nothing is taken while every channel replays. The replay of the only channel goes on to
    /// the point of a delete.
    fn take_end(&mut self) {
        if self.postponed.is_some() {
            return;
        }
        match self.outbox.poll_end(&noop()) {
            Poll::Ready(end) if end.ending == Ending::Deleted && self.revoked_at.is_some() => {
                self.cut(end);
            }
            Poll::Ready(end) if end.ending == Ending::Deleted => self.postponed = Some(end),
            Poll::Ready(end) => self.end(end),
            Poll::Pending => {}
        }
    }

    pub(super) fn find(&mut self, found: Ending) {
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

    pub(super) fn look(&mut self) {
        if self.state == State::Asking
            && let Poll::Ready(end) = self.outbox.poll_end(&noop())
        {
            self.end(end);
        }
    }

    pub(super) fn end(&mut self, end: End) {
        assert_eq!(
            Some(end.ending),
            self.decided,
            "the first reason, and no other"
        );
        self.missed = self.outbox.missed();
        let waits = self.outbox.drain();
        let Self {
            real,
            channels,
            outbound,
            ..
        } = self;
        let replays = |id| channels.iter().any(|of| of.key.id == id && of.replaying);
        let cursor = real.conclude(
            end,
            waits,
            self.missed,
            |_, id| replays(id),
            outbound,
            |id, _, cursor| last_words(channels, id, cursor),
        );
        let cursor = cursor.map_or_else(String::new, |at| at.cluster_time().time.to_string());
        let ended = bare(&format!("ended {cursor}"));
        self.outbound.push(ended.encode(Dialect::CloudEvents));
        self.outbox.close();
        self.state = State::Ended(end);
    }

    pub(super) fn write(&mut self, bytes: usize) {
        let mut slices = [std::io::IoSlice::new(&[]); 8];
        let count = self.outbound.lay_out(&mut slices);
        let all = slices[..count]
            .iter()
            .flat_map(|slice| slice.iter().copied());
        let written: Vec<u8> = all.take(bytes).collect();
        self.outbound.advance(written.len());
        self.half.extend(written);
        self.read();
        while let Some(id) = self.outbound.take_ended() {
            self.real.remove(id);
        }
    }

    /// Reads the whole frames that have arrived.
    fn read(&mut self) {
        while let [0x81, len, after @ ..] = self.half.as_slice()
            && let Some((text, rest)) = after.split_at_checked(usize::from(*len))
        {
            let text = String::from_utf8(text.to_vec()).unwrap();
            if let Some((channel, text)) = text.split_once('/') {
                let channel: usize = channel.parse().unwrap();
                self.by_channel[channel].push(text.to_owned());
            }
            self.texts.push(text);
            self.half = rest.to_vec();
        }
    }

    /// Returns the texts that the client has read on one channel.
    pub(in crate::session::tests) fn texts_of(&self, channel: usize) -> &[String] {
        &self.by_channel[channel]
    }

    /// Returns the number of the last event that the client has read on a channel.
    pub(super) fn last_read(&self, channel: usize) -> Option<u32> {
        let texts = self.texts_of(channel);
        texts.iter().rev().find_map(|text| text.parse().ok())
    }

    /// Whether there is something for the client to acknowledge on a channel.
    pub(in crate::session::tests) fn has_unacknowledged(&self, channel: usize) -> bool {
        let read = self.last_read(channel);
        self.state == State::Running && read.is_some_and(|read| self.channels[channel].acked < read)
    }

    /// Whether the client has read the last words of a channel.
    pub(in crate::session::tests) fn said_to_end(&self, channel: usize) -> bool {
        let last = self.texts_of(channel).last();
        last.is_some_and(|text| text.starts_with("ended"))
    }
}
