//! The receipts that wait to be written, and the deletes that have none yet. Pure.

use std::collections::{BTreeSet, VecDeque};

use crate::{position::Position, store::Receipt};

/// Receipts that may wait while the database cannot be reached.
const MAX_WAITING: usize = 16_384;
/// Receipts in one write.
const MAX_RECEIPTS_A_WRITE: usize = 1_000;

/// The number of a delete that ended connections. Several may stand at one position.
pub(super) type Number = u64;

/// The receipts that wait.
#[derive(Debug)]
pub(super) struct ReceiptQueue {
    queue: VecDeque<(Number, Receipt)>,
    /// Deletes with connections whose receipt is not written.
    unsettled: BTreeSet<(Position, Number)>,
    lost: Option<Position>,
    most: usize,
}

impl Default for ReceiptQueue {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            unsettled: BTreeSet::new(),
            lost: None,
            most: MAX_WAITING,
        }
    }
}

impl ReceiptQueue {
    /// Notes that a delete had connections, so that a receipt is to come.
    pub(super) fn expect(&mut self, at: Position, number: Number) {
        self.unsettled.insert((at, number));
    }

    /// Adds a receipt that can be written; true if another one had to be given up for it.
    pub(super) fn add(&mut self, number: Number, receipt: Receipt) -> bool {
        self.queue.push_back((number, receipt));
        if self.queue.len() <= self.most {
            return false;
        }
        if let Some((number, receipt)) = self.queue.pop_front() {
            let at = receipt.deletion.at;
            self.lost = self.lost.max(Some(at));
            self.unsettled.remove(&(at, number));
        }
        true
    }

    /// Takes the oldest receipts, to be written now.
    pub(super) fn take(&mut self) -> Vec<(Number, Receipt)> {
        let count = self.queue.len().min(MAX_RECEIPTS_A_WRITE);
        self.queue.drain(..count).collect()
    }

    /// Notes that these are written.
    pub(super) fn settle(&mut self, written: &[(Position, Number)]) {
        for key in written {
            self.unsettled.remove(key);
        }
    }

    /// Whether no receipt waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns the first delete without, and the last that never gets, its receipt.
    pub(super) fn unsettled(&self) -> (Option<Position>, Option<Position>) {
        let first = self.unsettled.first().map(|(at, _)| *at);
        (first, self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Right;
    use crate::{
        protocol::Ending,
        store::{DeleteProgress, Deletion},
    };
    use bson::Timestamp;
    use std::time::Instant;

    fn at(time: u32) -> Position {
        Position::at(Timestamp { time, increment: 0 })
    }

    fn receipt(time: u32) -> Receipt {
        Receipt {
            right: Right::subscription("a"),
            holder: None,
            deletion: Deletion {
                at: at(time),
                wall_time: None,
                ending: Some(Ending::Deleted),
            },
            connections: 1,
            decided: Instant::now(),
            closed: 1,
            counted: Instant::now(),
        }
    }

    /// Returns those of the deletes at 1 to 4 for which a node vouches that has applied all of them.
    fn covered(queue: &ReceiptQueue) -> Vec<u32> {
        let (unsettled, lost) = queue.unsettled();
        let progress = DeleteProgress {
            applied: Some(at(9)),
            unsettled,
            lost,
        };
        (1..=4)
            .filter(|time| progress.covers(at(*time), at(*time)))
            .collect()
    }

    #[test]
    fn nothing_is_vouched_for_from_the_first_delete_on_whose_receipt_is_not_written() {
        let mut queue = ReceiptQueue::default();
        assert_eq!(covered(&queue), [1, 2, 3, 4]);
        queue.expect(at(2), 1);
        queue.expect(at(3), 2);
        assert_eq!(covered(&queue), [1]);
        assert!(!queue.add(2, receipt(3)));
        let taken = queue.take();
        assert_eq!((taken.len(), covered(&queue)), (1, vec![1]));
        queue.settle(&[(at(3), 2)]);
        assert_eq!(covered(&queue), [1]);
        queue.settle(&[(at(2), 1)]);
        assert_eq!(covered(&queue), [1, 2, 3, 4]);
    }

    #[test]
    fn a_receipt_that_is_given_up_is_never_taken_for_none() {
        let mut queue = ReceiptQueue {
            most: 1,
            ..ReceiptQueue::default()
        };
        for (number, time) in [(1, 2), (2, 3)] {
            queue.expect(at(time), number);
            assert_eq!(queue.add(number, receipt(time)), number == 2);
        }
        assert_eq!(queue.unsettled(), (Some(at(3)), Some(at(2))));
        queue.settle(&[(at(3), 2)]);
        assert_eq!(covered(&queue), [3, 4]);
    }
}
