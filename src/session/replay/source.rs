//! The sources of replays, from the nearest to the farthest: this node's backlog, the oplog, the archive.
//!
//! The backlog is asked first. If the client's position is older, an oplog reader brings the replay forward until the
//! backlog reaches it; what the oplog has lost comes from the archive, up to a *seam* where the nearer sources take
//! over again ([`Seam`]).

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use bson::DateTime;

use super::{Asking, Found, Until};
use crate::{
    history::{ArchiveReader, DeliveredIds, OplogShare, Refusal, Seam},
    position::Position,
    protocol::GapReason,
    router::{BacklogAnswer, Busy, PastBatch, PastChange, registry::ChannelKey},
    session::NodeContext,
};

/// A page, and its reader.
type Page = (ArchiveReader, Result<Option<Arc<PastBatch>>, Refusal>);

/// The source of the next batches.
enum Source {
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

    /// Begins with a page, before which the replay is at `done`.
    pub(super) fn open_page(&mut self, of: Archive, done: Position) {
        self.seam = of.seam;
        self.lacks_some = of.lacks_some;
        self.page = Some(done);
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

/// The past behind one position, as it is read from one source after the other.
pub(super) struct Past {
    context: Arc<NodeContext>,
    /// Nothing beyond this can be read from the archive.
    attached_at: Position,
    source: Source,
    has_begun: bool,
    seam: Option<Seam>,
    lacks_some: bool,
}

/// The position up to which those who read have looked at everything, and who they are.
pub(super) struct Readers {
    pub(super) done: Position,
    pub(super) keys: Box<[ChannelKey]>,
    pub(super) tenant: Option<Box<str>>,
}

/// A part of the past.
#[derive(Clone)]
pub(super) enum Stretch {
    /// Of the backlog or the oplog. With these batches, everything up to the end is known.
    Near {
        batches: Vec<Arc<PastBatch>>,
        until: Until,
        is_of_backlog: bool,
    },
    /// A page of the archive.
    Page { batch: Arc<PastBatch>, of: Archive },
    /// Nothing, and the reason: the readers are at this position now.
    Nothing(Found, Position),
}

/// The archive that a page is of.
#[derive(Clone, Copy)]
pub(super) struct Archive {
    /// The point where the next source takes over.
    pub(super) seam: Option<Seam>,
    /// True if there may be events that the archive cannot show.
    pub(super) lacks_some: bool,
}

impl Past {
    pub(super) fn new(context: Arc<NodeContext>, attached_at: Position) -> Self {
        Self {
            context,
            attached_at,
            source: Source::Backlog,
            has_begun: false,
            seam: None,
            lacks_some: false,
        }
    }

    /// Whether anything was read, or asked for.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Reads the next part.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, readers: &Readers) -> Poll<Stretch> {
        self.has_begun = true;
        loop {
            if let Some(stretch) = ready!(self.poll_source(cx, readers)) {
                return Poll::Ready(stretch);
            }
        }
    }

    /// Goes on with the source. `None`: with another one.
    fn poll_source(&mut self, cx: &mut Context<'_>, readers: &Readers) -> Poll<Option<Stretch>> {
        let unavailable = Stretch::Nothing(Found::Unavailable, readers.done);
        match &mut self.source {
            Source::Backlog => {
                let (router, keys) = (self.context.router.clone(), readers.keys.clone());
                let (from, patience) = (readers.done, self.context.feed.replay_wait);
                let asking = async move { router.backlog_after(keys, from, patience).await };
                self.source = Source::BacklogAsked(Box::pin(asking));
            }
            Source::BacklogAsked(asking) => match ready!(asking.as_mut().poll(cx)) {
                Ok(BacklogAnswer::Slice {
                    batches,
                    up_to: position,
                    live,
                }) => {
                    self.source = Source::Backlog;
                    return Poll::Ready(Some(Stretch::Near {
                        batches,
                        until: Until { position, live },
                        is_of_backlog: true,
                    }));
                }
                Ok(BacklogAnswer::TooOld(start)) => {
                    let (history, from) = (self.context.history.clone(), readers.done);
                    let tenant = readers.tenant.clone();
                    let asking = Box::pin(async move { history.oplog_after(tenant, from).await });
                    self.source = Source::OplogAsked(asking, start);
                }
                Err(Busy) => return Poll::Ready(Some(unavailable)),
            },
            Source::OplogAsked(asking, start) => {
                let start = *start;
                match ready!(asking.as_mut().poll(cx)) {
                    Ok(reader) => self.source = Source::Oplog(reader),
                    Err(Refusal::Busy) => return Poll::Ready(Some(unavailable)),
                    Err(Refusal::Lost) => return Poll::Ready(self.go_to_archive(start, readers)),
                }
            }
            Source::Oplog(reader) => match ready!(reader.poll_next(cx)) {
                Some(batch) => {
                    // The oplog may be ahead of this node. Changes that the router has not applied yet come from the
                    // router: else they would come twice.
                    let here = self.context.router.progress().position;
                    if batch.position > here {
                        self.source = Source::Backlog;
                    }
                    return Poll::Ready(Some(Stretch::Near {
                        until: Until {
                            position: batch.position.min(here),
                            live: None,
                        },
                        batches: vec![batch],
                        is_of_backlog: false,
                    }));
                }
                None => self.source = Source::Backlog,
            },
            Source::ArchiveAsked(_) | Source::ArchivePage(_) => {
                return self.poll_archive(cx, readers);
            }
        }
        Poll::Ready(None)
    }

    /// Turns to the archive: the oplog does not reach back to the readers, and the backlog begins at `start`. The archive
    /// holds no changes of subscriptions, so nothing beyond the attach can be read from it: the clients have to begin
    /// anew.
    fn go_to_archive(&mut self, start: Position, readers: &Readers) -> Option<Stretch> {
        let (from, to) = (readers.done, start.min(self.attached_at));
        if to <= from {
            return Some(Stretch::Nothing(Found::Unavailable, from));
        }
        let (history, tenant) = (self.context.history.clone(), readers.tenant.clone());
        let asking = async move { history.archive_after(tenant, from, to).await };
        self.source = Source::ArchiveAsked(Box::pin(asking));
        None
    }

    fn poll_archive(&mut self, cx: &mut Context<'_>, readers: &Readers) -> Poll<Option<Stretch>> {
        match std::mem::replace(&mut self.source, Source::Backlog) {
            Source::ArchiveAsked(asking) => self.poll_archive_asked(cx, asking, readers.done),
            Source::ArchivePage(asking) => self.poll_archive_page(cx, asking, readers.done),
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
        done: Position,
    ) -> Poll<Option<Stretch>> {
        let Poll::Ready(opened) = asking.as_mut().poll(cx) else {
            self.source = Source::ArchiveAsked(asking);
            return Poll::Pending;
        };
        let Ok(reader) = opened else {
            return Poll::Ready(Some(Stretch::Nothing(Found::Unavailable, done)));
        };
        let kept_from = reader.kept_from;
        self.seam = Some(reader.seam());
        self.lacks_some = reader.lacks_some;
        self.source = next_page(reader);
        Poll::Ready(if kept_from > done {
            let gap = Found::Gap(GapReason::HistoryLost, done, kept_from);
            Some(Stretch::Nothing(gap, kept_from))
        } else {
            let lacks_some = self.lacks_some;
            lacks_some.then_some(Stretch::Nothing(Found::Lacking, done))
        })
    }

    fn poll_archive_page(
        &mut self,
        cx: &mut Context<'_>,
        mut asking: Asking<Page>,
        done: Position,
    ) -> Poll<Option<Stretch>> {
        let Poll::Ready((reader, page)) = asking.as_mut().poll(cx) else {
            self.source = Source::ArchivePage(asking);
            return Poll::Pending;
        };
        Poll::Ready(match page {
            Ok(Some(batch)) => {
                batch.charge_to_waiting(&self.context.encoder.budget);
                // It is polled when this page is delivered.
                self.source = next_page(reader);
                let of = Archive {
                    seam: self.seam,
                    lacks_some: self.lacks_some,
                };
                Some(Stretch::Page { batch, of })
            }
            Ok(None) => None,
            Err(_) => Some(Stretch::Nothing(Found::Unavailable, done)),
        })
    }
}

fn next_page(mut reader: ArchiveReader) -> Source {
    Source::ArchivePage(Box::pin(async move {
        let page = reader.next().await;
        (reader, page)
    }))
}
