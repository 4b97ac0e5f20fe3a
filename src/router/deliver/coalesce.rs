//! Events on their way to the connections, grouped by subscription.
//!
//! What one batch brings to a subscription goes to each of its connections together: one push, one
//! piece of memory, one part of a system call. Pure.

use std::{collections::HashMap, ops::Range, sync::Arc};

use smallvec::SmallVec;

use crate::{
    protocol::{Dialect, Frame, Load},
    router::{
        outbox::Bounds,
        registry::{Phase, Registered},
        table::Slot,
    },
};

/// A run is a copy of its events. With fewer connections than this it is not worth it.
const SHARED_BY: usize = 4;
/// Bytes of one run; one event may be longer.
const RUN_BYTES: usize = 16 * 1024;
/// A run takes at most this part of an outbox.
const PART_OF_OUTBOX: usize = 8;

/// Which events go to the connections of one subscription, by dialect.
#[derive(Debug)]
pub(super) struct EventGroup {
    pub(super) slot: Slot,
    wanted: [bool; Dialect::COUNT],
    frames: [SmallVec<[Arc<Frame>; 1]>; Dialect::COUNT],
}

/// The events of all subscriptions since they were last taken.
#[derive(Debug, Default)]
pub(super) struct Coalescer {
    all: Vec<EventGroup>,
    places: HashMap<Slot, usize>,
}

impl Coalescer {
    /// What goes to a subscription, which has these `connections`; `None` if none of them is live.
    pub(super) fn to(&mut self, slot: Slot, connections: &[Registered]) -> Option<&mut EventGroup> {
        if let Some(place) = self.places.get(&slot) {
            return self.all.get_mut(*place);
        }
        let mut wanted = [false; Dialect::COUNT];
        let live = |connection: &&Registered| connection.phase == Phase::Live;
        for connection in connections.iter().filter(live) {
            wanted[connection.dialect.index()] = true;
        }
        if wanted == [false; Dialect::COUNT] {
            return None;
        }
        self.places.insert(slot, self.all.len());
        self.all.push(EventGroup {
            slot,
            wanted,
            frames: Default::default(),
        });
        self.all.last_mut()
    }

    /// Takes what was gathered, in no particular order of subscriptions.
    pub(super) fn take(&mut self) -> Vec<EventGroup> {
        self.places.clear();
        std::mem::take(&mut self.all)
    }
}

impl EventGroup {
    /// Whether a connection takes events in this dialect.
    pub(super) fn wants(&self, dialect: Dialect) -> bool {
        self.wanted[dialect.index()]
    }

    /// Adds an event.
    pub(super) fn add(&mut self, dialect: Dialect, frame: Arc<Frame>) {
        self.frames[dialect.index()].push(frame);
    }

    /// Takes the frames of a dialect for these connections, in order: runs where several connections
    /// get the same, else the events themselves.
    pub(super) fn take(
        &mut self,
        dialect: Dialect,
        connections: &[Registered],
        bounds: Bounds,
        load: &Load,
    ) -> SmallVec<[Arc<Frame>; 1]> {
        let frames = std::mem::take(&mut self.frames[dialect.index()]);
        let Some(first) = frames.first().filter(|_| frames.len() > 1) else {
            return frames;
        };
        // Whoever starts in the middle gets only what comes after that.
        let together = connections.iter().all(|to| to.from < first.position);
        if connections.len() < SHARED_BY || !together {
            return frames;
        }
        let run = |piece: Range<usize>| match &frames[piece] {
            [alone] => Arc::clone(alone),
            events => Arc::new(Frame::run(events).counted(load)),
        };
        pieces(&frames, bounds).map(run).collect()
    }
}

/// Cuts frames into pieces that an outbox takes easily.
fn pieces(frames: &[Arc<Frame>], bounds: Bounds) -> impl Iterator<Item = Range<usize>> {
    let most_bytes = RUN_BYTES.min(bounds.bytes / PART_OF_OUTBOX);
    let most_frames = (bounds.frames / PART_OF_OUTBOX).max(1);
    let mut start = 0;
    std::iter::from_fn(move || {
        let mut bytes = frames.get(start)?.bytes.len();
        let mut end = start + 1;
        while let Some(next) = frames.get(end)
            && end - start < most_frames
            && bytes + next.bytes.len() <= most_bytes
        {
            bytes += next.bytes.len();
            end += 1;
        }
        let piece = start..end;
        start = end;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Position;

    fn frames(lengths: &[usize]) -> Vec<Arc<Frame>> {
        let frame = |len: &usize| Frame::new(vec![0; *len].into(), Position::START, None);
        lengths.iter().map(frame).map(Arc::new).collect()
    }

    #[test]
    fn pieces_keep_to_their_part_of_an_outbox() {
        let check = |lengths: &[usize], bounds: Bounds, expected: &[Range<usize>]| {
            let cut: Vec<_> = pieces(&frames(lengths), bounds).collect();
            assert_eq!(cut, expected, "{lengths:?} {bounds:?}");
        };
        let wide = Bounds {
            frames: 1_024,
            bytes: 800,
        };
        check(&[], wide, &[]);
        check(
            &[50, 50, 50, 99, 2, 100],
            wide,
            &[0..2, 2..3, 3..4, 4..5, 5..6],
        );
        check(&[120, 10, 10], wide, &[0..1, 1..3]);
        let few = Bounds {
            frames: 16,
            bytes: 1 << 20,
        };
        check(&[10, 10, 10], few, &[0..2, 2..3]);
        let fewest = Bounds { frames: 1, ..few };
        check(&[10, 10], fewest, &[0..1, 1..2]);
    }
}
