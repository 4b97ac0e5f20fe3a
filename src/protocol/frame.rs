//! What goes to the wire, ready-made and shared by all who get it.

use std::{sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{Dialect, Message};
use crate::{
    budget::{ByteBudget, Reservation},
    position::Position,
};

/// One message, or a run of consecutive events that go together.
#[derive(Debug)]
pub struct Frame {
    /// What goes to the wire: WebSocket frames with their headers, or server-sent events.
    pub bytes: Bytes,
    /// Where a client stands that has read all of it.
    pub position: Position,
    /// When it was encoded (of a run: the first), if it carries events (else it is about the
    /// connection).
    pub event_at: Option<Instant>,
    /// Of a run: where each of its events ends.
    ends: Box<[End]>,
    /// Counts it as long as it waits anywhere.
    reservation: Option<Reservation>,
}

/// The end of one event in a run.
#[derive(Clone, Copy, Debug)]
struct End {
    /// Bytes of the run up to here.
    bytes: usize,
    /// Where a client stands that has read so far.
    position: Position,
}

/// The messages of a frame that a client has read when it has read whole the one that was begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Begun {
    /// Their bytes.
    pub bytes: usize,
    /// Where the client then stands.
    pub position: Position,
    /// How many of them are events.
    pub events: u64,
}

impl Frame {
    /// A frame of bytes for the wire.
    pub fn new(bytes: Bytes, position: Position, event_at: Option<Instant>) -> Self {
        Self {
            bytes,
            position,
            event_at,
            ends: Box::default(),
            reservation: None,
        }
    }

    /// A frame about the connection.
    pub fn notice(message: &Message<'_>, dialect: Dialect, position: Position) -> Self {
        Self::new(message.encode(dialect), position, None)
    }

    /// Consecutive events, each a frame of its own so far, as one frame. They go to the outboxes and
    /// to the kernel in one piece.
    pub fn run(events: &[Arc<Self>]) -> Self {
        let mut bytes = BytesMut::with_capacity(events.iter().map(|event| event.bytes.len()).sum());
        let ends = events.iter().map(|event| {
            bytes.extend_from_slice(&event.bytes);
            End {
                bytes: bytes.len(),
                position: event.position,
            }
        });
        let ends: Box<[End]> = ends.collect();
        let position = ends.last().map_or(Position::START, |end| end.position);
        let event_at = events.first().and_then(|event| event.event_at);
        Self {
            ends,
            ..Self::new(bytes.freeze(), position, event_at)
        }
    }

    /// Counts the frame from here on until nobody has it any more.
    #[must_use]
    pub fn counted(mut self, budget: &ByteBudget) -> Self {
        self.reservation = Some(budget.reserve(self.bytes.len()));
        self
    }

    /// How many messages it is.
    pub fn messages(&self) -> usize {
        self.ends.len().max(1)
    }

    /// How many events it carries.
    pub fn events(&self) -> u64 {
        self.events_of(self.messages())
    }

    fn events_of(&self, messages: usize) -> u64 {
        match self.event_at {
            Some(_) => messages as u64,
            None => 0,
        }
    }

    /// Its messages of which at least one byte lies in the first `written`.
    pub fn begun(&self, written: usize) -> Begun {
        let whole = self.ends.partition_point(|end| end.bytes < written);
        let last = self.ends.get(whole);
        Begun {
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
            let begun = Begun {
                bytes,
                position: at(time),
                events: u64::from(time),
            };
            assert_eq!(run.begun(written), begun, "{written}");
        }
        let alone = Begun {
            bytes: 3,
            position: at(1),
            events: 1,
        };
        assert_eq!(event(1, "a").begun(1), alone);
    }
}
