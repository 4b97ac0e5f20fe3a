//! The part of a replay that comes from the archive, because the oplog has lost it.

use std::sync::Arc;

use bson::DateTime;

use super::{Found, Replay, pick::Picked};
use crate::{
    history::{DeliveredIds, Seam},
    position::Position,
    protocol::{Frame, GapReason},
    router::{PastBatch, PastChange},
};

/// The state of a replay that reads the archive, or has read it.
#[derive(Default)]
pub(super) struct ArchivePages {
    /// The point where the next source takes over.
    pub(super) seam: Option<Seam>,
    /// True if there may be events that the archive cannot show.
    pub(super) lacks_some: bool,
    /// The position before the page that is being looked through, if one is.
    pub(super) page: Option<Position>,
    delivered: DeliveredIds,
}

impl ArchivePages {
    /// Whether the first batch is a page of the archive.
    pub(super) fn is_page(&self) -> bool {
        self.page.is_some()
    }

    /// Skips the rest of the page.
    pub(super) fn close_page(&mut self) {
        self.page = None;
    }

    /// Returns a position before an event at `at`: `last`, or the position before the page if earlier events share `at`.
    fn before(&self, last: Position, at: Position) -> Position {
        let begin = self.page.filter(|_| last == at);
        begin.unwrap_or(last)
    }

    /// Returns the bytes that the delivered ids take.
    pub(super) fn held(&self) -> usize {
        self.delivered.bytes()
    }

    /// Returns the time of a commit, or the latest that it can have been: a page knows only the second.
    pub(super) fn committed(&self, change: &PastChange) -> DateTime {
        let millis = change.wall_time.timestamp_millis();
        let rest = if self.is_page() { 999 } else { 0 };
        DateTime::from_millis(millis.saturating_add(rest))
    }

    /// Whether the event was delivered from the archive already.
    pub(super) fn has(&mut self, batch: &PastBatch, change: &PastChange) -> bool {
        let event = batch.event(change);
        event.is_some_and(|event| self.delivered.has(event, change.position))
    }
}

impl Replay {
    /// Looks through a page, or a part of it. Several events may share one position.
    pub(super) fn look_through_page(
        &mut self,
        batch: &PastBatch,
        max_bytes: usize,
        out: &mut Vec<Arc<Frame>>,
    ) -> Found {
        let mut bytes = 0;
        while let Some(change) = batch.changes.get(self.next_change) {
            if self.turn.is_over() {
                return Found::Frames;
            }
            self.turn.spend(change);
            self.next_change += 1;
            if self.limit.is_some_and(|limit| change.position >= limit) {
                continue;
            }
            let before = self.done;
            self.done = before.max(change.position);
            if self.archive.has(batch, change) {
                continue;
            }
            match self.pick(batch, change) {
                Picked::Frame(frame) => {
                    self.remember(batch, change);
                    bytes += frame.bytes.len();
                    out.push(frame);
                    if bytes >= max_bytes {
                        return Found::Frames;
                    }
                }
                Picked::Undecided(reason) => {
                    let after = self.archive.before(before, self.done);
                    return self.give_up(reason, after);
                }
                Picked::Nothing => {}
            }
            if self.is_held_up(before) {
                return Found::Frames;
            }
        }
        self.end_page(batch.position)
    }

    fn remember(&mut self, batch: &PastBatch, change: &PastChange) {
        if let (Some(event), Some(seam)) = (batch.event(change), self.archive.seam) {
            self.archive.delivered.add(event, change.position, seam);
        }
    }

    fn end_page(&mut self, position: Position) -> Found {
        self.batches.pop_front();
        self.next_change = 0;
        self.done = self.done.max(position);
        match self.archive.page.take() {
            // Told page by page, so that a client that resumes in between hears of the rest again.
            Some(begun) if self.archive.lacks_some && begun < self.done => {
                Found::Gap(GapReason::HistoryLost, begun, self.done)
            }
            _ => Found::Frames,
        }
    }
}
