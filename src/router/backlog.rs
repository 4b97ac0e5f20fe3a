//! The backlog: recent changes, kept in memory for clients that were away for a moment, at no cost to the database.
//! Bounded by bytes and by age. Pure.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::PastBatch;
use crate::{budget::ByteBudget, config, position::Position};

/// The size of one answer, so that a long backlog is read in pieces.
const SLICE_BYTES: usize = 512 * 1024;

/// The last batches that the router has applied.
#[derive(Debug)]
pub(super) struct Backlog {
    batches: VecDeque<Arc<PastBatch>>,
    /// Every change after this, up to the router's position, is here.
    start: Position,
    max_bytes: usize,
    max_age: Duration,
    /// Counts the batches that are here, with all encodings of their events.
    kept: ByteBudget,
    /// Counts batches that were dropped here and are still held elsewhere.
    waiting: ByteBudget,
}

/// A piece of the backlog.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) batches: Vec<Arc<PastBatch>>,
    /// True if nothing comes after it.
    pub(super) complete: bool,
}

impl Backlog {
    pub(super) fn new(settings: &config::Feed, kept: ByteBudget, waiting: ByteBudget) -> Self {
        Self {
            batches: VecDeque::new(),
            start: Position::START,
            max_bytes: settings.window_bytes,
            max_age: settings.window_age,
            kept,
            waiting,
        }
    }

    /// Drops everything. The backlog begins at `start`.
    pub(super) fn restart(&mut self, start: Position) {
        for batch in self.batches.drain(..) {
            batch.release_from_backlog(&self.waiting);
        }
        self.start = start;
    }

    /// Adds a batch that was just applied, and drops what is too much or too old.
    pub(super) fn add(&mut self, batch: PastBatch) {
        if !batch.changes.is_empty() {
            batch.charge_to_backlog(&self.kept);
            self.batches.push_back(Arc::new(batch));
        }
        while let Some(oldest) = self.batches.front() {
            let too_old = oldest.received_at().elapsed() > self.max_age;
            if self.bytes() <= self.max_bytes && !too_old {
                break;
            }
            self.start = oldest.position;
            oldest.release_from_backlog(&self.waiting);
            self.batches.pop_front();
        }
    }

    fn bytes(&self) -> usize {
        usize::try_from(self.kept.bytes()).unwrap_or(usize::MAX)
    }

    /// Adds everything after `from`, in order, as it was read from the oplog. As much of it is kept as there is room
    /// for, the newest first; nothing if it does not reach up to the backlog.
    pub(super) fn add_before(&mut self, from: Position, older: &[Arc<PastBatch>]) {
        let begin = self.start;
        if older.last().is_none_or(|last| last.position < begin) {
            return;
        }
        let lower = |index: usize| match index {
            0 => from,
            index => older[index - 1].position,
        };
        for (index, batch) in older.iter().enumerate().rev() {
            if lower(index) >= begin {
                continue;
            }
            let batch = if batch.position > begin {
                Arc::new(batch.up_to(begin))
            } else {
                Arc::clone(batch)
            };
            if !batch.changes.is_empty() {
                if batch.bytes() > self.max_bytes.saturating_sub(self.bytes()) {
                    return;
                }
                batch.charge_to_backlog(&self.kept);
                self.batches.push_front(batch);
            }
            self.start = lower(index);
        }
    }

    /// Returns the position after which everything is here.
    pub(super) fn start(&self) -> Position {
        self.start
    }

    /// Returns the batches with changes after `from`, as many as fit one answer; `None` if the backlog does not reach
    /// back so far.
    pub(super) fn after(&self, from: Position) -> Option<Slice> {
        if from < self.start {
            return None;
        }
        let first = self.batches.partition_point(|batch| batch.position <= from);
        let mut batches = Vec::new();
        let mut bytes = 0;
        for batch in self.batches.range(first..) {
            if bytes > 0 && bytes + batch.reply.as_bytes().len() > SLICE_BYTES {
                return Some(Slice {
                    batches,
                    complete: false,
                });
            }
            bytes += batch.reply.as_bytes().len();
            batches.push(Arc::clone(batch));
        }
        Some(Slice {
            batches,
            complete: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        position::DeploymentId,
        protocol::Dialect,
        router::{EventEncoder, Operation, PastChange, PastChangeKind, Span},
    };
    use bson::{DateTime, RawDocumentBuf, Timestamp, rawdoc};
    use prometheus_client::metrics::counter::Counter;
    use std::time::Instant;

    fn window_of(window_bytes: usize, window_age: Duration) -> Backlog {
        let settings = config::Feed {
            window_bytes,
            window_age,
            ..config::Feed::default()
        };
        Backlog::new(&settings, ByteBudget::default(), ByteBudget::default())
    }

    fn encoder() -> EventEncoder {
        EventEncoder {
            deployment: DeploymentId([0; 6]),
            default_source: String::new(),
            budget: ByteBudget::default(),
            undecodable: Counter::default(),
        }
    }

    fn at(time: u32) -> Position {
        Position::at(Timestamp { time, increment: 0 })
    }

    fn batch(time: u32, bytes: usize) -> PastBatch {
        let reply = rawdoc! {"x": "y".repeat(bytes)};
        batch_of(time, reply, PastChangeKind::AllSubscriptionsDeleted)
    }

    fn batch_of(time: u32, reply: RawDocumentBuf, kind: PastChangeKind) -> PastBatch {
        let change = PastChange::new(at(time), DateTime::from_millis(0), kind);
        PastBatch::new(reply, vec![change], at(time), Instant::now())
    }

    fn times(slice: &Slice) -> Vec<u32> {
        slice
            .batches
            .iter()
            .map(|batch| batch.position.cluster_time().time)
            .collect()
    }

    #[test]
    fn what_is_after_a_position_is_found_whole_and_in_order() {
        let mut backlog = window_of(1 << 20, Duration::from_mins(1));
        backlog.restart(at(5));
        for time in [6, 7, 9] {
            backlog.add(batch(time, 10));
        }
        assert_eq!(times(&backlog.after(at(5)).unwrap()), [6, 7, 9]);
        assert_eq!(times(&backlog.after(at(7)).unwrap()), [9]);
        assert_eq!(times(&backlog.after(at(8)).unwrap()), [9]);
        assert!(backlog.after(at(9)).unwrap().complete);
        assert!(backlog.after(at(4)).is_none(), "before the backlog");
    }

    #[test]
    fn bytes_and_age_bound_it_and_move_its_start() {
        let mut backlog = window_of(3_500, Duration::from_mins(1));
        for time in 1..=4 {
            backlog.add(batch(time, 1_000));
        }
        assert_eq!(backlog.start(), at(2));
        assert!(backlog.after(at(1)).is_none());
        assert_eq!(times(&backlog.after(at(2)).unwrap()), [3, 4]);
        let mut backlog = window_of(1 << 20, Duration::ZERO);
        backlog.add(batch(1, 10));
        assert_eq!(backlog.start(), at(1));
    }

    /// The budget counts only what is in the backlog.
    #[test]
    fn the_encodings_of_its_events_count_and_end_with_them() {
        let mut backlog = window_of(1 << 20, Duration::from_mins(1));
        let event = rawdoc! {"_id": "e", "type": "tick", "data": "x".repeat(1_000)};
        let length = event.as_bytes().len();
        let encoded = || {
            let operation = Operation::event(Span::within(&event, &event).unwrap());
            let batch = batch_of(1, event.clone(), PastChangeKind::Operation(operation));
            let change = &batch.changes[0];
            let document = batch.event(change).unwrap();
            let frame = change.frame(document, Dialect::Tidegate, &encoder());
            assert!(frame.is_some());
            batch
        };
        let elsewhere = encoded();
        assert_eq!(backlog.bytes(), 0);
        backlog.add(encoded());
        assert!(backlog.bytes() > length + 1_000);
        drop(elsewhere);
        // A replay asks for another dialect.
        let before = backlog.bytes();
        let batch = Arc::clone(&backlog.after(Position::START).unwrap().batches[0]);
        let change = &batch.changes[0];
        let document = batch.event(change).unwrap();
        for _ in 0..2 {
            let frame = batch.frame(change, document, Dialect::Sse, &encoder());
            assert!(frame.is_some());
        }
        assert!((before + 1_000..before + 2_000).contains(&backlog.bytes()));
        backlog.restart(at(2));
        assert_eq!(backlog.bytes(), 0);
    }

    #[test]
    fn what_others_hold_beyond_the_window_is_counted() {
        let mut backlog = window_of(1_500, Duration::from_mins(1));
        backlog.add(batch(1, 1_000));
        let held = backlog.after(Position::START).unwrap();
        assert_eq!(backlog.waiting.bytes(), 0, "the backlog keeps it anyway");
        backlog.add(batch(2, 1_000));
        assert!(backlog.waiting.bytes() > 1_000);
        drop(held);
        assert_eq!(backlog.waiting.bytes(), 0);
    }

    #[test]
    fn what_came_before_is_joined_without_a_repeat_as_far_as_there_is_room() {
        let older: Vec<_> = [3, 6, 9].map(|time| Arc::new(batch(time, 1_000))).into();
        let joined = |max_bytes, begin| {
            let mut backlog = window_of(max_bytes, Duration::from_mins(1));
            backlog.restart(at(begin));
            backlog.add(batch(20, 10));
            backlog.add_before(at(2), &older);
            backlog
        };
        let backlog = joined(1 << 20, 9);
        assert_eq!(backlog.start(), at(2));
        assert_eq!(times(&backlog.after(at(2)).unwrap()), [3, 6, 9, 20]);
        assert_eq!(times(&backlog.after(at(6)).unwrap()), [9, 20]);
        // The oplog was read beyond the start of the backlog.
        let backlog = joined(1 << 20, 7);
        assert_eq!(times(&backlog.after(at(2)).unwrap()), [3, 6, 20]);
        // There is room for one batch.
        let backlog = joined(2_000, 9);
        assert_eq!(backlog.start(), at(6));
        assert_eq!(times(&backlog.after(at(6)).unwrap()), [9, 20]);
        // The oplog was not read far enough.
        assert_eq!(joined(1 << 20, 10).start(), at(10));
    }

    #[test]
    fn a_long_past_comes_in_pieces() {
        let mut backlog = window_of(16 << 20, Duration::from_mins(1));
        for time in 1..=4 {
            backlog.add(batch(time, SLICE_BYTES / 2));
        }
        let mut from = Position::START;
        let mut seen = Vec::new();
        loop {
            let slice = backlog.after(from).unwrap();
            seen.extend(times(&slice));
            from = slice.batches.last().unwrap().position;
            if slice.complete {
                break;
            }
        }
        assert_eq!(seen, [1, 2, 3, 4]);
    }
}
