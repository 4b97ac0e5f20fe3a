//! What goes to the wire, ready-made and shared by all who get it.

use std::{sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{Dialect, Message};
use crate::position::Position;

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
}

/// The end of one event in a run.
#[derive(Clone, Copy, Debug)]
struct End {
    /// Bytes of the run up to here.
    bytes: usize,
    /// Where a client stands that has read so far.
    position: Position,
}

impl Frame {
    /// A frame about the connection.
    pub fn notice(message: &Message<'_>, dialect: Dialect, position: Position) -> Self {
        Self {
            bytes: message.encode(dialect),
            position,
            event_at: None,
            ends: Box::default(),
        }
    }

    /// A frame that carries an event.
    pub fn event(message: &Message<'_>, dialect: Dialect, position: Position) -> Self {
        Self {
            event_at: Some(Instant::now()),
            ..Self::notice(message, dialect, position)
        }
    }

    /// Consecutive events, each a frame of its own so far, as one frame. They go to the outboxes and
    /// to the kernel in one piece.
    pub fn run(events: &[Arc<Self>]) -> Arc<Self> {
        if let [alone] = events {
            return Arc::clone(alone);
        }
        let mut bytes = BytesMut::with_capacity(events.iter().map(|event| event.bytes.len()).sum());
        let ends = events.iter().map(|event| {
            bytes.extend_from_slice(&event.bytes);
            End {
                bytes: bytes.len(),
                position: event.position,
            }
        });
        let ends: Box<[End]> = ends.collect();
        Arc::new(Self {
            position: ends.last().map_or(Position::START, |end| end.position),
            event_at: events.first().and_then(|event| event.event_at),
            bytes: bytes.freeze(),
            ends,
        })
    }

    /// So many bytes that mean nothing.
    #[cfg(test)]
    pub(crate) fn blank(bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes: vec![0; bytes].into(),
            position: Position::START,
            event_at: None,
            ends: Box::default(),
        })
    }

    /// How many messages it is.
    pub fn messages(&self) -> usize {
        self.ends.len().max(1)
    }

    /// How many events it carries.
    pub fn events(&self) -> u64 {
        match self.event_at {
            Some(_) => self.messages() as u64,
            None => 0,
        }
    }

    /// Its messages of which at least one byte lies in the first `written`, whole.
    #[must_use]
    pub fn begun(&self, written: usize) -> Self {
        let before = self.ends.partition_point(|end| end.bytes < written);
        let kept = self.ends.get(..=before).unwrap_or(&self.ends);
        let end = kept.last().copied().unwrap_or(End {
            bytes: self.bytes.len(),
            position: self.position,
        });
        Self {
            bytes: self.bytes.slice(..end.bytes),
            position: end.position,
            event_at: self.event_at,
            ends: kept.into(),
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
        Arc::new(Frame::event(&message, Dialect::CloudEvents, at(time)))
    }

    #[test]
    fn a_run_is_its_events_one_behind_the_other() {
        let events = [event(1, "a"), event(2, "bb"), event(3, "c")];
        let run = Frame::run(&events);
        assert_eq!(run.bytes[..], *b"\x81\x01a\x81\x02bb\x81\x01c");
        assert_eq!((run.messages(), run.events()), (3, 3));
        assert_eq!(run.position, at(3));
        assert_eq!(run.event_at, events[0].event_at);
        assert!(Arc::ptr_eq(&Frame::run(&events[1..2]), &events[1]));
    }

    #[test]
    fn what_was_begun_ends_with_the_message_of_the_last_byte() {
        let run = Frame::run(&[event(1, "a"), event(2, "bb"), event(3, "c")]);
        for (written, bytes, time) in [(1, 3, 1), (3, 3, 1), (4, 7, 2), (7, 7, 2), (8, 10, 3)] {
            let begun = run.begun(written);
            assert_eq!(
                (begun.bytes.len(), begun.position),
                (bytes, at(time)),
                "{written}"
            );
            assert_eq!(begun.messages(), time as usize, "{written}");
        }
        assert_eq!(event(1, "a").begun(1).bytes.len(), 3);
    }
}
