//! Whole frames that wait to be written, of which the first may have been written in part, and where
//! the client stands by them. Pure.

use std::{collections::VecDeque, io::IoSlice, sync::Arc, time::Instant};

use bytes::Bytes;

use crate::{position::Position, protocol::Frame, router::outbox::End};

/// What was taken since this was asked last.
#[derive(Default, Debug)]
pub(crate) struct Written {
    /// Whether any bytes were.
    pub(crate) progress: bool,
    /// Events, and when the first of them was encoded.
    pub(crate) events: u64,
    pub(crate) oldest: Option<Instant>,
}

/// Something that waits to be written.
enum Part {
    /// What HTTP left to be sent. Nothing may go before it.
    Answer(Bytes),
    /// From the router, by way of the outbox, or from a replay.
    Shared(Arc<Frame>),
    /// What is left of the messages of such a frame, of which the others are not sent any more.
    Rest(Box<Rest>),
    /// From the connection.
    Own(Bytes),
    /// From the codec.
    Control(Bytes),
}

/// The end of a message that was begun, and what the client has read with it.
struct Rest {
    bytes: Bytes,
    position: Position,
    events: u64,
}

/// The frames, in order.
pub(crate) struct Outbound {
    parts: VecDeque<Part>,
    /// Bytes of the first part that were taken.
    front_written: usize,
    /// Bytes that came from the codec; a part that was begun counts whole.
    control_bytes: usize,
    /// Bytes of shared frames; one that was begun counts whole.
    shared_bytes: usize,
    /// Where the client stands once it has read everything that is queued.
    queued: Position,
    /// Where it stands once it has read the last whole frame that was taken.
    taken: Position,
    written: Written,
}

impl Outbound {
    /// Nothing is queued for a client that stands at `start`.
    pub(crate) fn new(start: Position) -> Self {
        Self {
            parts: VecDeque::new(),
            front_written: 0,
            control_bytes: 0,
            shared_bytes: 0,
            queued: start,
            taken: start,
            written: Written::default(),
        }
    }

    /// The same, behind what HTTP left to be sent.
    pub(crate) fn behind(answer: Bytes, start: Position) -> Self {
        let mut outbound = Self::new(start);
        if !answer.is_empty() {
            outbound.parts.push_back(Part::Answer(answer));
        }
        outbound
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

    /// All that decides what happens next: the parts, shared ones by their position, and where the
    /// client stands by what is queued and by what was taken.
    #[cfg(test)]
    #[expect(clippy::type_complexity, reason = "for one test")]
    pub(crate) fn shape(&self) -> (Vec<(Option<Position>, usize, usize)>, Position, Position) {
        let part = |(index, part): (usize, &Part)| {
            let (position, messages) = match part {
                Part::Shared(frame) => (Some(frame.position), frame.messages()),
                Part::Rest(rest) => (Some(rest.position), 1),
                Part::Answer(_) | Part::Own(_) | Part::Control(_) => (None, 1),
            };
            let taken = if index == 0 { self.front_written } else { 0 };
            (position, messages, part.bytes().len() - taken)
        };
        let parts = self.parts.iter().enumerate().map(part).collect();
        (parts, self.queued, self.taken)
    }

    /// Where the client stands by what was written.
    pub(crate) fn taken(&self) -> Position {
        self.taken
    }

    /// What was taken since this was asked last.
    pub(crate) fn take_written(&mut self) -> Written {
        std::mem::take(&mut self.written)
    }

    /// Queues a shared frame.
    pub(crate) fn push_shared(&mut self, frame: Arc<Frame>) {
        self.queued = self.queued.max(frame.position);
        self.shared_bytes += frame.bytes.len();
        self.parts.push_back(Part::Shared(frame));
    }

    /// Queues a frame of the connection's own.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.parts.push_back(Part::Own(bytes));
    }

    /// Puts control frames before everything else, but never inside a frame.
    pub(crate) fn push_control(&mut self, bytes: Bytes) {
        self.control_bytes += bytes.len();
        let first = usize::from(self.is_midway());
        self.parts.insert(first, Part::Control(bytes));
    }

    /// Whether nothing may go before the first part.
    fn is_midway(&self) -> bool {
        let first = self.parts.front();
        self.front_written > 0 || matches!(first, Some(Part::Answer(_) | Part::Rest(_)))
    }

    /// Nothing more comes for the client up to `position`.
    pub(crate) fn pass(&mut self, position: Position) {
        self.queued = self.queued.max(position);
    }

    /// Makes of what is queued what the client still gets at its end: `waiting` too if the end
    /// drains, else no more than the frame that was begun. `complete` says whether nothing between
    /// `waiting` and the end was left out. Returns where the client then stands.
    pub(crate) fn conclude(
        &mut self,
        end: End,
        waiting: Vec<Arc<Frame>>,
        complete: bool,
    ) -> Position {
        if !end.drain {
            return self.discard();
        }
        for frame in waiting {
            self.push_shared(frame);
        }
        if complete {
            self.pass(end.position);
        }
        self.queued
    }

    /// Forgets everything but a message that was begun; returns where the client then stands.
    fn discard(&mut self) -> Position {
        self.parts.truncate(usize::from(self.is_midway()));
        self.control_bytes = match self.parts.front() {
            Some(Part::Control(bytes)) => bytes.len(),
            _ => 0,
        };
        self.shared_bytes = 0;
        if let Some(Part::Shared(frame)) = self.parts.front() {
            let started = frame.started(self.front_written);
            if started.bytes < frame.bytes.len() {
                // A whole run is not to be kept for the end of one of its messages.
                let bytes = Bytes::copy_from_slice(&frame.bytes[self.front_written..started.bytes]);
                let (position, events) = (started.position, started.events);
                let rest = Rest {
                    bytes,
                    position,
                    events,
                };
                self.parts = [Part::Rest(Box::new(rest))].into();
                self.front_written = 0;
            } else {
                self.shared_bytes = frame.bytes.len();
            }
        }
        self.pop_written();
        match self.parts.front() {
            Some(Part::Shared(frame)) => self.taken.max(frame.position),
            Some(Part::Rest(rest)) => self.taken.max(rest.position),
            _ => self.taken,
        }
    }

    /// What is left of the only part, if there is no other.
    pub(crate) fn only(&self) -> Option<&[u8]> {
        let only = self.parts.front().filter(|_| self.parts.len() == 1);
        only.map(|part| &part.bytes()[self.front_written..])
    }

    /// Lays out the first parts for one vectored write; returns how many.
    pub(crate) fn lay_out<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut written = self.front_written;
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(&part.bytes()[written..]);
            written = 0;
            count += 1;
        }
        count
    }

    /// So many bytes were taken.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.written.progress = true;
        self.front_written += bytes;
        self.pop_written();
    }

    /// Removes the parts of which nothing is left.
    fn pop_written(&mut self) {
        while let Some(part) = self.parts.front() {
            let length = part.bytes().len();
            if self.front_written < length {
                return;
            }
            self.front_written -= length;
            if let Some(part) = self.parts.pop_front() {
                self.note(&part);
            }
        }
        // The next part takes the place of the first one again, which is still near.
        self.parts.clear();
    }

    /// A whole part was taken.
    fn note(&mut self, part: &Part) {
        match part {
            Part::Shared(frame) => {
                self.taken = self.taken.max(frame.position);
                self.shared_bytes = self.shared_bytes.saturating_sub(frame.bytes.len());
                self.written.events += frame.events();
                if let Some(at) = frame.event_at {
                    self.written.oldest.get_or_insert(at);
                }
            }
            Part::Rest(rest) => {
                self.taken = self.taken.max(rest.position);
                self.written.events += rest.events;
            }
            Part::Control(bytes) => {
                self.control_bytes = self.control_bytes.saturating_sub(bytes.len());
            }
            Part::Answer(_) | Part::Own(_) => {}
        }
    }
}

impl Part {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Shared(frame) => &frame.bytes,
            Self::Rest(rest) => &rest.bytes,
            Self::Answer(bytes) | Self::Own(bytes) | Self::Control(bytes) => bytes,
        }
    }
}
