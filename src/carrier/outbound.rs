//! The whole frames that wait to be written to a client, of which the first may have been written in part, and the
//! client's standing on each channel by them. Pure.

use std::{collections::VecDeque, io::IoSlice, sync::Arc, time::Instant};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    position::Position,
    protocol::{ChannelId, Frame},
};

/// A larger queue that is empty gives its memory back.
const KEPT_PARTS: usize = 16;

/// Everything that the kernel took since this was asked last.
#[derive(Default, Debug)]
pub(crate) struct Written {
    /// True if any bytes were taken.
    pub(crate) progress: bool,
    pub(crate) events: u64,
    /// The time at which the first of the events was encoded.
    pub(crate) oldest: Option<Instant>,
}

/// Something that waits to be written.
enum Part {
    /// HTTP's answer to the upgrade, if it is not sent yet. Nothing may go before it.
    Answer(Bytes),
    /// A frame of a channel, from the router by way of the outbox, or from a replay.
    Shared(ChannelId, Arc<Frame>),
    /// A frame behind a head of the session's own.
    Headed(Box<Headed>),
    /// The rest of a message that was begun, of a frame whose other messages are not sent any more.
    Rest(Box<Rest>),
    /// The last bytes of a channel.
    ChannelEnd(Box<(ChannelId, Bytes)>),
    /// A frame of the session's own.
    Own(Bytes),
    /// A control frame of the codec's.
    Control(Bytes),
}

/// A message in three pieces, of which all sessions share the greatest.
struct Headed {
    place: Place,
    head: Bytes,
    tail: Arc<Frame>,
    end: &'static [u8],
}

/// The standing that a frame moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// That of one channel.
    Own(ChannelId),
    /// That of all channels that share the session's order.
    Shared,
}

/// The rest of a message that was begun, and the client's standing once it has read it.
struct Rest {
    channel: ChannelId,
    bytes: Bytes,
    position: Position,
    events: u64,
}

/// The positions up to which the client has everything of one channel.
#[derive(Clone, Copy, Debug)]
struct Standing {
    channel: ChannelId,
    /// Once it has read everything that is queued.
    queued: Position,
    /// Once it has read the last whole frame that was taken.
    taken: Position,
    end: ChannelEnd,
}

/// The position up to which the client has everything of the channels that share the session's order.
#[derive(Clone, Copy, Debug)]
struct SharedStanding {
    queued: Position,
    taken: Position,
}

/// The last bytes of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ChannelEnd {
    NotQueued,
    Queued,
    Taken,
}

/// The frames, in order.
pub(crate) struct Outbound {
    parts: VecDeque<Part>,
    /// Bytes of the first part that were taken.
    front_written: usize,
    /// The next bytes, which are encrypted and not taken yet. Nothing may go between them, or before.
    encrypted: usize,
    /// Bytes that came from the codec; a part that was begun counts whole.
    control_bytes: usize,
    /// Bytes of shared frames; one that was begun counts whole.
    shared_bytes: usize,
    standings: SmallVec<[Standing; 1]>,
    /// `None`: every channel has a standing of its own.
    shared: Option<Box<SharedStanding>>,
    written: Written,
}

impl Outbound {
    /// Nothing is queued, and there is no channel.
    pub(crate) fn new() -> Self {
        Self {
            parts: VecDeque::new(),
            front_written: 0,
            encrypted: 0,
            control_bytes: 0,
            shared_bytes: 0,
            standings: SmallVec::new(),
            shared: None,
            written: Written::default(),
        }
    }

    /// The same, with HTTP's answer to the upgrade before everything else.
    pub(crate) fn behind(answer: Bytes) -> Self {
        let mut outbound = Self::new();
        if !answer.is_empty() {
            outbound.parts.push_back(Part::Answer(answer));
        }
        outbound
    }

    /// Adds a channel on which the client stands at `start`.
    pub(crate) fn add_channel(&mut self, channel: ChannelId, start: Position) {
        self.standings.push(Standing {
            channel,
            queued: start,
            taken: start,
            end: ChannelEnd::NotQueued,
        });
    }

    /// Has a channel share the order that others share. It has no standing of its own from here on.
    pub(crate) fn join(&mut self, channel: ChannelId) {
        if let Some(at) = self.standings.iter().position(|of| of.channel == channel) {
            self.standings.swap_remove(at);
            self.give_back();
        }
    }

    /// Gives the room of standings back that are gone.
    fn give_back(&mut self) {
        if self.standings.len() < self.standings.capacity() / 4 {
            self.standings.shrink_to_fit();
        }
    }

    /// Begins an order that channels share, in which the client stands at `start`.
    pub(crate) fn share(&mut self, start: Position) {
        self.shared = Some(Box::new(SharedStanding {
            queued: start,
            taken: start,
        }));
    }

    /// Returns the position up to which the client has everything in the order that channels share, once it has
    /// read what is queued.
    pub(crate) fn queued_of_shared(&self) -> Position {
        self.shared.as_ref().map_or(Position::START, |of| of.queued)
    }

    /// Notes that nothing more comes in the order that channels share up to `position`.
    pub(crate) fn advance_shared(&mut self, position: Position) {
        if let Some(shared) = &mut self.shared {
            shared.queued = shared.queued.max(position);
        }
    }

    /// Queues a frame behind a head, and what follows it.
    pub(crate) fn push_headed(
        &mut self,
        place: Place,
        head: Bytes,
        tail: Arc<Frame>,
        end: &'static [u8],
    ) {
        self.move_to(place, tail.position);
        self.shared_bytes += tail.bytes.len();
        self.parts.push_back(Part::Headed(Box::new(Headed {
            place,
            head,
            tail,
            end,
        })));
    }

    /// Notes that a frame up to `position` is to be queued.
    pub(crate) fn move_to(&mut self, place: Place, position: Position) {
        match place {
            Place::Own(channel) => self.advance_to(channel, position),
            Place::Shared => self.advance_shared(position),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(crate) fn control_bytes(&self) -> usize {
        self.control_bytes
    }

    pub(crate) fn shared_bytes(&self) -> usize {
        self.shared_bytes
    }

    /// Returns the position up to which the client has everything of a channel, once it has read what is queued.
    pub(crate) fn queued(&self, channel: ChannelId) -> Option<Position> {
        let standing = self.standings.iter().find(|of| of.channel == channel);
        standing.map(|standing| standing.queued)
    }

    /// The same of all channels together, except those whose last bytes are queued; `None` if there is none.
    pub(crate) fn queued_of_all(&self) -> Option<Position> {
        let going_on = self
            .standings
            .iter()
            .filter(|standing| standing.end == ChannelEnd::NotQueued);
        going_on.map(|standing| standing.queued).min()
    }

    /// Returns the position up to which the client has everything of all channels by what was taken; `None` if there
    /// is no channel.
    pub(crate) fn taken_of_all(&self) -> Option<Position> {
        let shared = self.shared.as_ref().map(|shared| shared.taken);
        shared.or_else(|| self.standings.iter().map(|standing| standing.taken).min())
    }

    /// Takes the account of what was taken since this was asked last.
    pub(crate) fn take_written(&mut self) -> Written {
        std::mem::take(&mut self.written)
    }

    /// Forgets a channel whose last bytes were taken; `None` if there is none.
    pub(crate) fn take_ended(&mut self) -> Option<ChannelId> {
        let ended = |of: &Standing| of.end == ChannelEnd::Taken;
        let at = self.standings.iter().position(ended)?;
        let channel = self.standings.swap_remove(at).channel;
        self.give_back();
        Some(channel)
    }

    /// Queues a frame of a channel.
    pub(crate) fn push_shared(&mut self, channel: ChannelId, frame: Arc<Frame>) {
        self.advance_to(channel, frame.position);
        self.shared_bytes += frame.bytes.len();
        self.parts.push_back(Part::Shared(channel, frame));
    }

    /// Queues the last bytes of a channel. Once they are taken, [`Outbound::take_ended`] names it.
    pub(crate) fn push_channel_end(&mut self, channel: ChannelId, bytes: Bytes) {
        if let Some(standing) = self.standing(channel) {
            standing.end = ChannelEnd::Queued;
        } else {
            // It shares the order of others.
            self.standings.push(Standing {
                channel,
                queued: Position::START,
                taken: Position::START,
                end: ChannelEnd::Queued,
            });
        }
        let end = Box::new((channel, bytes));
        self.parts.push_back(Part::ChannelEnd(end));
    }

    /// Queues a frame of the session's own.
    pub(crate) fn push(&mut self, frame: Bytes) {
        self.parts.push_back(Part::Own(frame));
    }

    /// Queues control frames before everything else, but never inside a frame.
    pub(crate) fn push_control(&mut self, bytes: Bytes) {
        self.control_bytes += bytes.len();
        let first = if self.encrypted > 0 {
            self.parts_begun()
        } else {
            usize::from(self.is_midway())
        };
        self.parts.insert(first, Part::Control(bytes));
    }

    /// Returns the number of parts of which bytes were taken or encrypted.
    fn parts_begun(&self) -> usize {
        let mut left = self.front_written + self.encrypted;
        let begun = self.parts.iter().take_while(|part| {
            let is_begun = left > 0;
            left = left.saturating_sub(part.len());
            is_begun
        });
        begun.count()
    }

    /// Whether nothing may go before the first part.
    fn is_midway(&self) -> bool {
        let first = self.parts.front();
        self.front_written > 0 || matches!(first, Some(Part::Answer(_) | Part::Rest(_)))
    }

    /// Notes that nothing more comes for a channel up to `position`.
    pub(crate) fn advance_to(&mut self, channel: ChannelId, position: Position) {
        if let Some(standing) = self.standing(channel) {
            standing.queued = standing.queued.max(position);
        }
    }

    fn standing(&mut self, channel: ChannelId) -> Option<&mut Standing> {
        self.standings.iter_mut().find(|of| of.channel == channel)
    }

    /// Forgets everything but a message that was begun. What is encrypted counts as taken: it goes out in any case.
    pub(crate) fn discard(&mut self) {
        if self.encrypted > 0 {
            self.front_written += std::mem::take(&mut self.encrypted);
            self.pop_written();
        }
        self.parts.truncate(usize::from(self.is_midway()));
        self.control_bytes = match self.parts.front() {
            Some(Part::Control(bytes)) => bytes.len(),
            _ => 0,
        };
        self.shared_bytes = 0;
        if let Some(Part::Shared(channel, frame)) = self.parts.front() {
            let started = frame.started(self.front_written);
            if started.bytes < frame.bytes.len() {
                // A whole run is not to be kept for the end of one of its messages.
                let bytes = Bytes::copy_from_slice(&frame.bytes[self.front_written..started.bytes]);
                let rest = Rest {
                    channel: *channel,
                    bytes,
                    position: started.position,
                    events: started.events,
                };
                self.parts = [Part::Rest(Box::new(rest))].into();
                self.front_written = 0;
            } else {
                self.shared_bytes = frame.bytes.len();
            }
        }
        self.pop_written();
        if let Some(Part::Headed(headed)) = self.parts.front() {
            self.shared_bytes = headed.tail.bytes.len();
        }
        if let Some(shared) = &mut self.shared {
            shared.queued = shared.taken;
        }
        for standing in &mut self.standings {
            standing.queued = standing.taken;
            if standing.end == ChannelEnd::Queued {
                standing.end = ChannelEnd::NotQueued;
            }
        }
        let begun = match self.parts.front() {
            Some(Part::Shared(channel, frame)) => Some((Place::Own(*channel), frame.position)),
            Some(Part::Headed(headed)) => Some((headed.place, headed.tail.position)),
            Some(Part::Rest(rest)) => Some((Place::Own(rest.channel), rest.position)),
            _ => None,
        };
        if let Some((place, position)) = begun {
            self.move_to(place, position);
        }
    }

    /// Returns the rest of the only part, if there is no other.
    pub(crate) fn only(&self) -> Option<&[u8]> {
        let only = self.parts.front().filter(|_| self.parts.len() == 1);
        let [bytes, [], []] = only?.pieces() else {
            return None;
        };
        Some(&bytes[self.front_written..])
    }

    /// Lays out the first parts for one vectored write; returns their number.
    pub(crate) fn lay_out<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut written = self.front_written;
        let mut count = 0;
        for part in &self.parts {
            for piece in part.pieces() {
                let left = piece.get(written..).unwrap_or_default();
                written = written.saturating_sub(piece.len());
                if left.is_empty() {
                    continue;
                }
                let Some(slice) = slices.get_mut(count) else {
                    return count;
                };
                *slice = IoSlice::new(left);
                count += 1;
            }
        }
        count
    }

    /// Returns the number of the next bytes that are encrypted and not taken yet.
    pub(crate) fn encrypted(&self) -> usize {
        self.encrypted
    }

    /// Notes that the next bytes are encrypted: they go out as they are, before everything else.
    pub(crate) fn note_encrypted(&mut self, bytes: usize) {
        self.encrypted = bytes;
    }

    /// Notes that encrypted bytes were taken, if not all of them.
    pub(crate) fn note_progress(&mut self) {
        self.written.progress = true;
    }

    /// Accounts for bytes that were taken.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.encrypted = self.encrypted.saturating_sub(bytes);
        self.written.progress = true;
        self.front_written += bytes;
        self.pop_written();
    }

    /// Removes the parts of which nothing is left.
    fn pop_written(&mut self) {
        while let Some(part) = self.parts.front() {
            let length = part.len();
            if self.front_written < length {
                return;
            }
            self.front_written -= length;
            if let Some(part) = self.parts.pop_front() {
                self.note(&part);
            }
        }
        if self.parts.capacity() > KEPT_PARTS {
            self.parts = VecDeque::new();
        } else {
            // The next part takes the first place again, which is still in the processor's cache.
            self.parts.clear();
        }
    }

    /// Accounts for a whole part that was taken.
    fn note(&mut self, part: &Part) {
        match part {
            Part::Shared(channel, frame) => {
                self.note_taken(*channel, frame.position);
                self.shared_bytes = self.shared_bytes.saturating_sub(frame.bytes.len());
                self.written.events += frame.events();
                if let Some(at) = frame.event_at {
                    self.written.oldest.get_or_insert(at);
                }
            }
            Part::Headed(headed) => {
                let (place, position) = (headed.place, headed.tail.position);
                match (place, &mut self.shared) {
                    (Place::Own(channel), _) => self.note_taken(channel, position),
                    (Place::Shared, Some(shared)) => shared.taken = shared.taken.max(position),
                    (Place::Shared, None) => {}
                }
                let tail = &headed.tail;
                self.shared_bytes = self.shared_bytes.saturating_sub(tail.bytes.len());
                self.written.events += tail.events();
                if let Some(at) = tail.event_at {
                    self.written.oldest.get_or_insert(at);
                }
            }
            Part::Rest(rest) => {
                self.note_taken(rest.channel, rest.position);
                self.written.events += rest.events;
            }
            Part::ChannelEnd(end) => {
                if let Some(standing) = self.standing(end.0) {
                    standing.end = ChannelEnd::Taken;
                }
            }
            Part::Control(bytes) => {
                self.control_bytes = self.control_bytes.saturating_sub(bytes.len());
            }
            Part::Answer(_) | Part::Own(_) => {}
        }
    }

    fn note_taken(&mut self, channel: ChannelId, position: Position) {
        if let Some(standing) = self.standing(channel) {
            standing.taken = standing.taken.max(position);
        }
    }
}

impl Part {
    /// Returns its bytes: most parts have one piece.
    fn pieces(&self) -> [&[u8]; 3] {
        match self {
            Self::Shared(_, frame) => [&frame.bytes, &[], &[]],
            Self::Headed(headed) => [&headed.head, &headed.tail.bytes, headed.end],
            Self::Rest(rest) => [&rest.bytes, &[], &[]],
            Self::ChannelEnd(end) => [&end.1, &[], &[]],
            Self::Answer(bytes) | Self::Own(bytes) | Self::Control(bytes) => [bytes, &[], &[]],
        }
    }

    fn len(&self) -> usize {
        self.pieces().map(<[u8]>::len).iter().sum()
    }
}

/// A part as tests see it: its channel, its position if it is of a frame, its messages, and the bytes left of it.
#[cfg(test)]
pub(crate) type PartShape = (Option<ChannelId>, Option<Position>, usize, usize);

#[cfg(test)]
impl Outbound {
    /// Returns all that decides what happens next: the parts, and the standing on each channel by what is queued and by
    /// what was taken.
    pub(crate) fn shape(&self) -> (Vec<PartShape>, Vec<(ChannelId, Position, Position)>) {
        let part = |(index, part): (usize, &Part)| {
            let (channel, position, messages) = match part {
                Part::Shared(channel, frame) => {
                    (Some(*channel), Some(frame.position), frame.messages())
                }
                Part::Headed(headed) => (None, Some(headed.tail.position), 1),
                Part::Rest(rest) => (Some(rest.channel), Some(rest.position), 1),
                Part::ChannelEnd(end) => (Some(end.0), None, 1),
                Part::Answer(_) | Part::Own(_) | Part::Control(_) => (None, None, 1),
            };
            let taken = if index == 0 { self.front_written } else { 0 };
            (channel, position, messages, part.len() - taken)
        };
        let parts = self.parts.iter().enumerate().map(part).collect();
        let standings = self.standings.iter();
        let standings = standings.map(|of| (of.channel, of.queued, of.taken));
        (parts, standings.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(parts: &[&'static str]) -> Outbound {
        let mut outbound = Outbound::new();
        for part in parts {
            outbound.push(Bytes::from_static(part.as_bytes()));
        }
        outbound
    }

    fn waiting(outbound: &Outbound) -> Vec<u8> {
        let mut parts = [IoSlice::new(&[]); 8];
        let count = outbound.lay_out(&mut parts);
        let parts = parts[..count].iter();
        parts.flat_map(|part| part.iter().copied()).collect()
    }

    #[test]
    fn nothing_goes_between_bytes_that_are_encrypted_or_into_a_part_that_is_begun() {
        for (taken, encrypted, expected) in [
            (0, 0, "!aabbcc"),
            (1, 0, "a!bbcc"),
            (0, 1, "aa!bbcc"),
            (0, 2, "aa!bbcc"),
            (1, 1, "a!bbcc"),
            (1, 2, "abb!cc"),
            (0, 6, "aabbcc!"),
        ] {
            let mut outbound = queued(&["aa", "bb", "cc"]);
            outbound.advance(taken);
            outbound.note_encrypted(encrypted);
            outbound.push_control(Bytes::from_static(b"!"));
            assert_eq!(waiting(&outbound), expected.as_bytes());
            outbound.advance(encrypted);
            assert_eq!(outbound.encrypted(), 0);
            assert_eq!(waiting(&outbound), &expected.as_bytes()[encrypted..]);
        }
    }

    #[test]
    fn a_part_of_which_bytes_are_encrypted_is_not_forgotten() {
        for (encrypted, left) in [(0, ""), (1, "a"), (2, ""), (3, "b"), (6, "")] {
            let mut outbound = queued(&["aa", "bb", "cc"]);
            outbound.note_encrypted(encrypted);
            outbound.discard();
            assert_eq!(waiting(&outbound), left.as_bytes(), "{encrypted}");
            assert_eq!(outbound.encrypted(), 0);
        }
    }
}
