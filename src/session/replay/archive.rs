//! The part of a replay that comes from the collection of events, because the oplog lost it.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bson::DateTime;

use super::{Asking, Found, Replaying, Source, picking::Picked};
use crate::{
    history::{Late, Refusal, Remembered, Seam},
    position::Position,
    protocol::{Frame, GapReason},
    router::{Batch, Change, ChangeKind},
};

/// A page, and what it was read with.
pub(super) type Page = (Late, Result<Option<Arc<Batch>>, Refusal>);

/// What a replay keeps while it reads old events, and of those it delivered.
#[derive(Default)]
pub(super) struct OldEvents {
    /// Where the next source takes over.
    seam: Option<Seam>,
    /// Whether there may be events that this source cannot show.
    lacks_some: bool,
    /// Where the page began that is being looked through, if one is.
    page: Option<Position>,
    remembered: Remembered,
}

impl OldEvents {
    /// Whether the first batch is a page of old events.
    pub(super) fn is_page(&self) -> bool {
        self.page.is_some()
    }

    /// The page is not looked through any further.
    pub(super) fn close_page(&mut self) {
        self.page = None;
    }

    /// A position before an event at `at`: `last`, or the begin of the page where events before it stand at
    /// the same.
    fn before(&self, last: Position, at: Position) -> Position {
        let begin = self.page.filter(|_| last == at);
        begin.unwrap_or(last)
    }

    /// Bytes of what is remembered.
    pub(super) fn held(&self) -> usize {
        self.remembered.bytes()
    }

    /// When a change was committed, or the latest that it can have been: a page knows the second.
    pub(super) fn committed(&self, change: &Change) -> DateTime {
        let millis = change.wall_time.timestamp_millis();
        let rest = if self.is_page() { 999 } else { 0 };
        DateTime::from_millis(millis.saturating_add(rest))
    }

    /// Whether the event of a change stream was delivered from the collection already.
    pub(super) fn has(&mut self, batch: &Batch, kind: &ChangeKind, at: Position) -> bool {
        match kind {
            ChangeKind::Event(range) => batch
                .document(range)
                .is_some_and(|event| self.remembered.has(event, at)),
            _ => false,
        }
    }
}

fn next_page(mut late: Late) -> Source {
    Source::Page(Box::pin(async move {
        let page = late.next().await;
        (late, page)
    }))
}

impl Replaying {
    /// The change streams do not reach back to where this is; this node remembers what comes after
    /// `start`. Changes of the subscription are in no collection: beyond the attach nothing can be read
    /// without them, and the client has to begin anew.
    pub(super) fn go_to_old_events(&mut self, start: Position) -> Option<Found> {
        let to = start.min(self.attached_at);
        if to <= self.done {
            return Some(Found::Unavailable);
        }
        let (replays, from) = (self.host.replays.clone(), self.done);
        self.source = Source::Shelf(Box::pin(async move { replays.late(from, to).await }));
        None
    }

    pub(super) fn poll_old_events(&mut self, cx: &mut Context<'_>) -> Poll<Option<Found>> {
        match std::mem::replace(&mut self.source, Source::Next) {
            Source::Shelf(asking) => self.poll_shelf(cx, asking),
            Source::Page(asking) => self.poll_page(cx, asking),
            other => {
                self.source = other;
                Poll::Ready(None)
            }
        }
    }

    fn poll_shelf(
        &mut self,
        cx: &mut Context<'_>,
        mut asking: Asking<Result<Late, Refusal>>,
    ) -> Poll<Option<Found>> {
        let Poll::Ready(opened) = asking.as_mut().poll(cx) else {
            self.source = Source::Shelf(asking);
            return Poll::Pending;
        };
        let Ok(late) = opened else {
            return Poll::Ready(Some(Found::Unavailable));
        };
        let kept_from = late.kept_from;
        self.old.seam = Some(late.seam());
        self.old.lacks_some = late.lacks_some;
        self.source = next_page(late);
        Poll::Ready(if kept_from > self.done {
            let after = std::mem::replace(&mut self.done, kept_from);
            Some(Found::Gap(GapReason::HistoryLost, after, kept_from))
        } else {
            self.old.lacks_some.then_some(Found::Lacking)
        })
    }

    fn poll_page(&mut self, cx: &mut Context<'_>, mut asking: Asking<Page>) -> Poll<Option<Found>> {
        let Poll::Ready((late, page)) = asking.as_mut().poll(cx) else {
            self.source = Source::Page(asking);
            return Poll::Pending;
        };
        Poll::Ready(match page {
            Ok(Some(batch)) => {
                batch.count(&self.host.wording.load);
                self.batches.push_back(batch);
                self.old.page = Some(self.done);
                // It is read when this one is delivered.
                self.source = next_page(late);
                None
            }
            Ok(None) => None,
            Err(_) => Some(Found::Unavailable),
        })
    }

    /// Looks through (a part of) a page. Several events may stand at one position.
    pub(super) fn look_through_page(
        &mut self,
        batch: &Batch,
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
            if self.old.has(batch, &change.kind, change.position) {
                continue;
            }
            match self.pick(batch, change) {
                Picked::Frame(frame) => {
                    self.remember(batch, &change.kind, change.position);
                    bytes += frame.bytes.len();
                    out.push(frame);
                    if bytes >= max_bytes {
                        return Found::Frames;
                    }
                }
                Picked::Undecided(reason) => {
                    let after = self.old.before(before, self.done);
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

    fn remember(&mut self, batch: &Batch, kind: &ChangeKind, at: Position) {
        if let ChangeKind::Event(range) = kind
            && let (Some(event), Some(seam)) = (batch.document(range), self.old.seam)
        {
            self.old.remembered.add(event, at, seam);
        }
    }

    fn end_page(&mut self, position: Position) -> Found {
        self.batches.pop_front();
        self.next_change = 0;
        self.done = self.done.max(position);
        match self.old.page.take() {
            // Told page by page, so that whoever goes on from here hears of the rest again.
            Some(begun) if self.old.lacks_some && begun < self.done => {
                Found::Gap(GapReason::HistoryLost, begun, self.done)
            }
            _ => Found::Frames,
        }
    }
}
