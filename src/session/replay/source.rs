//! The sources of a replay, from the nearest to the farthest: this node's backlog, the oplog, the archive.
//!
//! The backlog is asked first. If the client's position is older, an oplog reader brings the replay forward until the
//! backlog reaches it; what the oplog has lost comes from the archive, up to a *seam* where the nearer sources take
//! over again ([`Seam`]).

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use bson::DateTime;

use super::{Asking, Found, Replay, Until};
use crate::{
    history::{ArchiveReader, DeliveredIds, OplogShare, Refusal, Seam},
    position::Position,
    protocol::GapReason,
    router::{BacklogAnswer, Busy, PastBatch, PastChange},
};

/// A page, and its reader.
pub(super) type Page = (ArchiveReader, Result<Option<Arc<PastBatch>>, Refusal>);

/// The source of the next batches.
pub(super) enum Source {
    /// The router is to be asked for its backlog.
    Backlog,
    /// The router was asked.
    BacklogAsked(Asking<Result<BacklogAnswer, Busy>>),
    /// An oplog reader was asked for; the backlog begins at this position.
    OplogAsked(Asking<Result<OplogShare, Refusal>>, Position),
    /// The oplog is being read.
    Oplog(OplogShare),
    /// The oplog does not reach back so far: an archive reader was asked for.
    ArchiveAsked(Asking<Result<ArchiveReader, Refusal>>),
    /// A page of the archive was asked for.
    ArchivePage(Asking<Page>),
}

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
    pub(super) fn before(&self, last: Position, at: Position) -> Position {
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

    /// Notes that an event of the page was delivered, if a nearer source may show it again.
    pub(super) fn note_delivered(&mut self, batch: &PastBatch, change: &PastChange) {
        if self.is_page()
            && let (Some(event), Some(seam)) = (batch.event(change), self.seam)
        {
            self.delivered.add(event, change.position, seam);
        }
    }

    /// Whether the event was delivered from the archive already.
    pub(super) fn has(&mut self, batch: &PastBatch, change: &PastChange) -> bool {
        let event = batch.event(change);
        event.is_some_and(|event| self.delivered.has(event, change.position))
    }
}

impl Replay {
    /// Gets more batches. `None`: go on.
    pub(super) fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Found>> {
        match &mut self.source {
            Source::Backlog => {
                let (context, key, from) = (Arc::clone(&self.context), self.key, self.done);
                let patience = context.feed.replay_wait;
                let asking = async move { context.router.backlog_after(key, from, patience).await };
                self.source = Source::BacklogAsked(Box::pin(asking));
            }
            Source::BacklogAsked(asking) => match ready!(asking.as_mut().poll(cx)) {
                Ok(BacklogAnswer::Slice {
                    batches,
                    up_to: position,
                    live,
                }) => {
                    self.batches = batches.into();
                    self.until = Some(Until { position, live });
                    self.source = Source::Backlog;
                }
                Ok(BacklogAnswer::TooOld(start)) => {
                    let (history, from) = (self.context.history.clone(), self.done);
                    let tenant = self.shown.tenant().map(Into::into);
                    let asking = Box::pin(async move { history.oplog_after(tenant, from).await });
                    self.source = Source::OplogAsked(asking, start);
                }
                Err(Busy) => return Poll::Ready(Some(Found::Unavailable)),
            },
            Source::OplogAsked(asking, start) => {
                let start = *start;
                match ready!(asking.as_mut().poll(cx)) {
                    Ok(reader) => self.source = Source::Oplog(reader),
                    Err(Refusal::Busy) => return Poll::Ready(Some(Found::Unavailable)),
                    Err(Refusal::Lost) => return Poll::Ready(self.go_to_archive(start)),
                }
            }
            Source::Oplog(reader) => match ready!(reader.poll_next(cx)) {
                Some(batch) => {
                    // The oplog may be ahead of this node. Changes that the router has not applied yet come from the
                    // router: else they would come twice.
                    let here = self.context.router.progress().position;
                    self.until = Some(Until {
                        position: batch.position.min(here),
                        live: None,
                    });
                    if batch.position > here {
                        self.source = Source::Backlog;
                    }
                    self.batches.push_back(batch);
                }
                None => self.source = Source::Backlog,
            },
            Source::ArchiveAsked(_) | Source::ArchivePage(_) => return self.poll_archive(cx),
        }
        Poll::Ready(None)
    }

    /// Turns to the archive: the oplog does not reach back to this replay, and the backlog begins at `start`. The archive
    /// holds no changes of the subscription, so nothing beyond the attach can be read from it: the client has to begin
    /// anew.
    fn go_to_archive(&mut self, start: Position) -> Option<Found> {
        let to = start.min(self.attached_at);
        if to <= self.done {
            return Some(Found::Unavailable);
        }
        let (history, from) = (self.context.history.clone(), self.done);
        let tenant = self.shown.tenant().map(Into::into);
        let asking = async move { history.archive_after(tenant, from, to).await };
        self.source = Source::ArchiveAsked(Box::pin(asking));
        None
    }

    fn poll_archive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Found>> {
        match std::mem::replace(&mut self.source, Source::Backlog) {
            Source::ArchiveAsked(asking) => self.poll_archive_asked(cx, asking),
            Source::ArchivePage(asking) => self.poll_archive_page(cx, asking),
            other => {
                self.source = other;
                Poll::Ready(None)
            }
        }
    }

    fn poll_archive_asked(
        &mut self,
        cx: &mut Context<'_>,
        mut asking: Asking<Result<ArchiveReader, Refusal>>,
    ) -> Poll<Option<Found>> {
        let Poll::Ready(opened) = asking.as_mut().poll(cx) else {
            self.source = Source::ArchiveAsked(asking);
            return Poll::Pending;
        };
        let Ok(reader) = opened else {
            return Poll::Ready(Some(Found::Unavailable));
        };
        let kept_from = reader.kept_from;
        self.archive.seam = Some(reader.seam());
        self.archive.lacks_some = reader.lacks_some;
        self.source = next_page(reader);
        Poll::Ready(if kept_from > self.done {
            let after = std::mem::replace(&mut self.done, kept_from);
            Some(Found::Gap(GapReason::HistoryLost, after, kept_from))
        } else {
            self.archive.lacks_some.then_some(Found::Lacking)
        })
    }

    fn poll_archive_page(
        &mut self,
        cx: &mut Context<'_>,
        mut asking: Asking<Page>,
    ) -> Poll<Option<Found>> {
        let Poll::Ready((reader, page)) = asking.as_mut().poll(cx) else {
            self.source = Source::ArchivePage(asking);
            return Poll::Pending;
        };
        Poll::Ready(match page {
            Ok(Some(batch)) => {
                batch.charge_to_waiting(&self.context.encoder.budget);
                self.batches.push_back(batch);
                self.archive.page = Some(self.done);
                // It is polled when this page is delivered.
                self.source = next_page(reader);
                None
            }
            Ok(None) => None,
            Err(_) => Some(Found::Unavailable),
        })
    }
}

fn next_page(mut reader: ArchiveReader) -> Source {
    Source::ArchivePage(Box::pin(async move {
        let page = reader.next().await;
        (reader, page)
    }))
}
