//! What waits to be written to one socket, in the order in which it goes out, and where the client
//! is by what was written. Pure.

use std::{collections::VecDeque, io::IoSlice, sync::Arc, time::Instant};

use bytes::{Buf as _, Bytes};

use crate::{position::Position, protocol::Frame, router::outbox::End};

/// Whole WebSocket frames, of which the first may have been written in part.
#[derive(Debug)]
pub(super) struct Writing {
    parts: VecDeque<Part>,
    /// Whether the first part has been written in part.
    midway: bool,
    /// Where the client is once everything queued is written.
    queued: Position,
    /// Where the client is by the frames that were begun: a frame that is begun is always finished.
    reached: Position,
    /// Bytes of control frames that wait.
    control_bytes: usize,
    delivered: Delivered,
}

/// Event frames that were written whole.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Delivered {
    pub(super) events: u64,
    /// When the first of them was encoded.
    pub(super) oldest: Option<Instant>,
}

#[derive(Debug)]
struct Part {
    bytes: Bytes,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// About the connection.
    Message,
    /// A pong or a close.
    Control,
    /// Out of the outbox: its position, and when it was encoded if it carries an event.
    Frame(Position, Option<Instant>),
}

impl Writing {
    /// Nothing is written to a client that is at `start`.
    pub(super) fn new(start: Position) -> Self {
        Self {
            parts: VecDeque::new(),
            midway: false,
            queued: start,
            reached: start,
            control_bytes: 0,
            delivered: Delivered::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Bytes of control frames that wait.
    pub(super) fn control_bytes(&self) -> usize {
        self.control_bytes
    }

    /// Queues a message about the connection.
    pub(super) fn push(&mut self, bytes: Bytes) {
        let kind = Kind::Message;
        self.parts.push_back(Part { bytes, kind });
    }

    /// Queues a frame out of the outbox.
    pub(super) fn push_frame(&mut self, frame: &Frame) {
        self.queued = self.queued.max(frame.position);
        let kind = Kind::Frame(frame.position, frame.event_at);
        let bytes = Bytes::clone(&frame.bytes);
        self.parts.push_back(Part { bytes, kind });
    }

    /// Nothing more comes for the client up to `position`.
    pub(super) fn pass(&mut self, position: Position) {
        self.queued = self.queued.max(position);
        if self.parts.is_empty() {
            self.reached = self.queued;
        }
    }

    /// Puts control frames before everything else, but never inside a frame.
    pub(super) fn push_control(&mut self, bytes: Bytes) {
        self.control_bytes += bytes.len();
        let kind = Kind::Control;
        self.parts
            .insert(usize::from(self.midway), Part { bytes, kind });
    }

    /// Forgets everything but a frame that has been written in part.
    pub(super) fn discard(&mut self) {
        self.parts.truncate(usize::from(self.midway));
        self.queued = self.reached;
        let left = self.parts.iter().filter(|part| part.is_control());
        self.control_bytes = left.map(|part| part.bytes.len()).sum();
    }

    /// Makes of what is queued what the client still gets at its end, `waiting` included if the end
    /// drains. Returns where the client is once that is written.
    pub(super) fn conclude(&mut self, end: End, waiting: &[Arc<Frame>]) -> Position {
        if !end.drain {
            self.discard();
            return self.reached;
        }
        for frame in waiting {
            self.push_frame(frame);
        }
        end.position.max(self.queued)
    }

    /// Lays out the first parts for one vectored write; returns how many.
    pub(super) fn lay_out<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(&part.bytes);
            count += 1;
        }
        count
    }

    /// So many bytes were written.
    pub(super) fn advance(&mut self, mut written: usize) {
        while let Some(part) = self.parts.front_mut().filter(|_| written > 0) {
            let now = written.min(part.bytes.len());
            written -= now;
            part.bytes.advance(now);
            self.midway = !part.bytes.is_empty();
            match part.kind {
                Kind::Message => {}
                Kind::Control => self.control_bytes -= now,
                Kind::Frame(position, event_at) => {
                    self.reached = self.reached.max(position);
                    if let Some(at) = event_at.filter(|_| !self.midway) {
                        self.delivered.events += 1;
                        self.delivered.oldest.get_or_insert(at);
                    }
                }
            }
            if !self.midway {
                self.parts.pop_front();
            }
        }
        if self.parts.is_empty() {
            self.reached = self.queued;
        }
    }

    /// What was written whole since this was asked last.
    pub(super) fn take_delivered(&mut self) -> Delivered {
        std::mem::take(&mut self.delivered)
    }
}

impl Part {
    fn is_control(&self) -> bool {
        matches!(self.kind, Kind::Control)
    }
}
