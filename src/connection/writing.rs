//! Whole frames that wait to be written, of which the first may have been written in part, and where
//! the client stands by them. Pure.

use std::{collections::VecDeque, io::IoSlice, sync::Arc, time::Instant};

use bytes::{Buf as _, Bytes};

use crate::{
    position::Position,
    protocol::{Begun, Frame},
    router::outbox::End,
};

/// What was taken since this was asked last.
#[derive(Default, Debug)]
pub(super) struct Written {
    /// Whether any bytes were.
    pub(super) progress: bool,
    /// Events, and when the first of them was encoded.
    pub(super) events: u64,
    pub(super) oldest: Option<Instant>,
}

/// Something that waits to be written.
struct Part {
    bytes: Bytes,
    source: Source,
}

enum Source {
    /// The router, by way of the outbox, or a replay.
    Shared(Arc<Frame>),
    /// The same; of the rest nothing is sent any more.
    Begun(Begun),
    /// The connection.
    Own,
    /// The codec.
    Control,
}

/// The frames, in order.
pub(super) struct Writing {
    parts: VecDeque<Part>,
    /// Whether the first part has been written in part.
    midway: bool,
    /// Bytes that came from the codec.
    control_bytes: usize,
    /// Bytes of shared frames; one that was begun counts whole.
    shared_bytes: usize,
    /// Where the client stands once it has read everything that is queued.
    queued: Position,
    /// Where it stands once it has read the last whole frame that was taken.
    taken: Position,
    written: Written,
}

impl Writing {
    /// Nothing is queued for a client that stands at `start`.
    pub(super) fn new(start: Position) -> Self {
        Self {
            parts: VecDeque::new(),
            midway: false,
            control_bytes: 0,
            shared_bytes: 0,
            queued: start,
            taken: start,
            written: Written::default(),
        }
    }

    /// The same, behind bytes that nothing may go before: as if they were begun.
    pub(super) fn behind(first: Bytes, start: Position) -> Self {
        let mut writing = Self::new(start);
        if !first.is_empty() {
            writing.push(first);
            writing.midway = true;
        }
        writing
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(super) fn control_bytes(&self) -> usize {
        self.control_bytes
    }

    pub(super) fn shared_bytes(&self) -> usize {
        self.shared_bytes
    }

    /// All that decides what happens next: the parts, shared ones by their position, and where the
    /// client stands by what is queued and by what was taken.
    #[cfg(test)]
    #[expect(clippy::type_complexity, reason = "for one test")]
    pub(super) fn shape(&self) -> (Vec<(Option<Position>, usize, usize)>, Position, Position) {
        let part = |part: &Part| {
            let (position, messages) = match &part.source {
                Source::Shared(frame) => (Some(frame.position), frame.messages()),
                Source::Begun(begun) => (Some(begun.position), 1),
                Source::Own | Source::Control => (None, 1),
            };
            (position, messages, part.bytes.len())
        };
        let parts = self.parts.iter().map(part).collect();
        (parts, self.queued, self.taken)
    }

    /// Where the client stands by what was written.
    pub(super) fn taken(&self) -> Position {
        self.taken
    }

    /// What was taken since this was asked last.
    pub(super) fn take_written(&mut self) -> Written {
        std::mem::take(&mut self.written)
    }

    /// Queues a shared frame.
    pub(super) fn push_shared(&mut self, frame: Arc<Frame>) {
        self.queued = self.queued.max(frame.position);
        self.shared_bytes += frame.bytes.len();
        self.parts.push_back(Part {
            bytes: Bytes::clone(&frame.bytes),
            source: Source::Shared(frame),
        });
    }

    /// Queues a frame of the connection's own.
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.parts.push_back(Part {
            bytes,
            source: Source::Own,
        });
    }

    /// Puts control frames before everything else, but never inside a frame.
    pub(super) fn push_control(&mut self, bytes: Bytes) {
        self.control_bytes += bytes.len();
        let part = Part {
            bytes,
            source: Source::Control,
        };
        self.parts.insert(usize::from(self.midway), part);
    }

    /// Nothing more comes for the client up to `position`.
    pub(super) fn pass(&mut self, position: Position) {
        self.queued = self.queued.max(position);
    }

    /// Makes of what is queued what the client still gets at its end: `waiting` too if the end
    /// drains, else no more than the frame that was begun. `complete` says whether nothing between
    /// `waiting` and the end was left out. Returns where the client then stands.
    pub(super) fn conclude(
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
        self.parts.truncate(usize::from(self.midway));
        self.control_bytes = 0;
        self.shared_bytes = 0;
        if let Some(part) = self.parts.front_mut()
            && let Source::Shared(frame) = &part.source
        {
            let written = frame.bytes.len() - part.bytes.len();
            let begun = frame.begun(written);
            if begun.bytes < frame.bytes.len() {
                // A whole run is not to be kept for the end of one of its messages.
                part.bytes = Bytes::copy_from_slice(&frame.bytes[written..begun.bytes]);
                part.source = Source::Begun(begun);
            } else {
                self.shared_bytes = frame.bytes.len();
            }
        }
        self.pop_written();
        match self.parts.front().map(|part| &part.source) {
            Some(Source::Shared(frame)) => self.taken.max(frame.position),
            Some(Source::Begun(begun)) => self.taken.max(begun.position),
            _ => self.taken,
        }
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

    /// So many bytes were taken.
    pub(super) fn advance(&mut self, mut bytes: usize) {
        self.written.progress = true;
        while let Some(part) = self.parts.front_mut() {
            let taken = bytes.min(part.bytes.len());
            if matches!(part.source, Source::Control) {
                self.control_bytes = self.control_bytes.saturating_sub(taken);
            }
            if taken < part.bytes.len() {
                part.bytes.advance(taken);
                self.midway |= taken > 0;
                return;
            }
            bytes -= taken;
            part.bytes.clear();
            self.pop_written();
        }
    }

    /// Removes the first part if nothing is left of it.
    fn pop_written(&mut self) {
        if let Some(part) = self.parts.pop_front_if(|part| part.bytes.is_empty()) {
            self.midway = false;
            self.note(&part.source);
        }
    }

    /// A whole part was taken.
    fn note(&mut self, source: &Source) {
        match source {
            Source::Shared(frame) => {
                self.taken = self.taken.max(frame.position);
                self.shared_bytes = self.shared_bytes.saturating_sub(frame.bytes.len());
                self.written.events += frame.events();
                if let Some(at) = frame.event_at {
                    self.written.oldest.get_or_insert(at);
                }
            }
            Source::Begun(begun) => {
                self.taken = self.taken.max(begun.position);
                self.written.events += begun.events;
            }
            Source::Own | Source::Control => {}
        }
    }
}
