//! Frames: messages encoded for the wire, shared by all connections that get them.

use std::{sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{dialect::Dialect, frame_kind::FrameKind, message::Message};
use crate::{
    budget::{ByteBudget, Reservation},
    position::Position,
};

/// One message, or a run of consecutive events.
///
/// A run is a copy of its events, made where several connections get the same ones: each of them then takes one
/// reference and writes one piece, instead of one an event.
#[derive(Debug)]
pub struct Frame {
    /// The bytes for the wire: WebSocket frames with their headers, or server-sent events.
    pub bytes: Bytes,
    /// The position of a client that has read all of it.
    pub position: Position,
    /// The time at which it was encoded, or the first event of a run; `None` if it is about the connection.
    pub event_at: Option<Instant>,
    /// The part of a message that it holds.
    pub kind: FrameKind,
    /// The ends of a run's events; empty for one message.
    ends: Box<[RunEnd]>,
    /// The bytes, counted as long as they wait anywhere.
    reservation: Option<Reservation>,
}

/// The end of one event in a run.
#[derive(Clone, Copy, Debug)]
struct RunEnd {
    /// Bytes of the run up to this end.
    bytes: usize,
    /// The position of a client that has read up to this end.
    position: Position,
}

/// The messages of a frame up to the last one of which bytes were written. That one has to be completed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Started {
    /// Their bytes.
    pub bytes: usize,
    /// The position of a client that has read them.
    pub position: Position,
    /// The number of events among them.
    pub events: u64,
}

impl Frame {
    /// Makes a frame of one encoded message.
    pub fn new(bytes: Bytes, position: Position, event_at: Option<Instant>) -> Self {
        Self {
            bytes,
            position,
            event_at,
            kind: FrameKind::Whole,
            ends: Box::default(),
            reservation: None,
        }
    }

    /// Says which part of a message it holds.
    #[must_use]
    pub fn of_kind(mut self, kind: FrameKind) -> Self {
        self.kind = kind;
        self
    }

    /// Encodes a message about the connection.
    pub fn notice(message: &Message<'_>, dialect: Dialect, position: Position) -> Self {
        Self {
            kind: message.kind(dialect),
            ..Self::new(message.encode(dialect), position, None)
        }
    }

    /// Joins consecutive events, each a frame of its own so far, into a run.
    pub fn run(events: &[Arc<Self>]) -> Self {
        let mut bytes = BytesMut::with_capacity(events.iter().map(|event| event.bytes.len()).sum());
        let ends = events.iter().map(|event| {
            bytes.extend_from_slice(&event.bytes);
            RunEnd {
                bytes: bytes.len(),
                position: event.position,
            }
        });
        let ends: Box<[RunEnd]> = ends.collect();
        let position = ends.last().map_or(Position::START, |end| end.position);
        let event_at = events.first().and_then(|event| event.event_at);
        Self {
            ends,
            ..Self::new(bytes.freeze(), position, event_at)
        }
    }

    /// Reserves the frame's bytes until nobody holds it any more.
    #[must_use]
    pub fn counted(mut self, budget: &ByteBudget) -> Self {
        self.reservation = Some(budget.reserve(self.bytes.len()));
        self
    }

    /// Returns the number of messages.
    pub fn messages(&self) -> usize {
        self.ends.len().max(1)
    }

    /// Returns the number of events.
    pub fn events(&self) -> u64 {
        self.events_of(self.messages())
    }

    fn events_of(&self, messages: usize) -> u64 {
        match self.event_at {
            Some(_) => messages as u64,
            None => 0,
        }
    }

    /// Returns the messages that have at least one byte among the first `written`.
    pub fn started(&self, written: usize) -> Started {
        let whole = self.ends.partition_point(|end| end.bytes < written);
        let last = self.ends.get(whole);
        Started {
            bytes: last.map_or(self.bytes.len(), |end| end.bytes),
            position: last.map_or(self.position, |end| end.position),
            events: self.events_of(self.messages().min(whole + 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::Timestamp;

    fn at(time: u32) -> Position {
        Position::at(Timestamp { time, increment: 0 })
    }

    fn event(time: u32, text: &str) -> Arc<Frame> {
        let message = Message::bare_event("", text.to_owned());
        let bytes = message.encode(Dialect::CloudEvents);
        Arc::new(Frame::new(bytes, at(time), Some(Instant::now())))
    }

    #[test]
    fn a_run_is_its_events_one_behind_the_other() {
        let events = [event(1, "a"), event(2, "bb"), event(3, "c")];
        let run = Frame::run(&events);
        assert_eq!(run.bytes[..], *b"\x81\x01a\x81\x02bb\x81\x01c");
        assert_eq!((run.messages(), run.events()), (3, 3));
        assert_eq!(run.position, at(3));
        assert_eq!(run.event_at, events[0].event_at);
    }

    #[test]
    fn what_was_begun_ends_with_the_message_of_the_last_byte() {
        let run = Frame::run(&[event(1, "a"), event(2, "bb"), event(3, "c")]);
        for (written, bytes, time) in [(1, 3, 1), (3, 3, 1), (4, 7, 2), (7, 7, 2), (8, 10, 3)] {
            let started = Started {
                bytes,
                position: at(time),
                events: u64::from(time),
            };
            assert_eq!(run.started(written), started, "{written}");
        }
        let alone = Started {
            bytes: 3,
            position: at(1),
            events: 1,
        };
        assert_eq!(event(1, "a").started(1), alone);
    }
}
