//! A page of events while it is read, reply by reply.

use std::time::{Duration, Instant};

use bson::{RawBsonRef, RawDocument, Timestamp};
use mongodb::raw_batch_cursor::RawBatch;

use super::EventQuery;
use crate::store::{
    StoreError,
    collections::events::page_key::{PageKey, PageKeyError, event_page_key},
};

/// What becomes of an event that was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// It stands on the page, or is passed over.
    Done,
    /// It is not taken: the page ends before it.
    Full,
}

/// What was read.
#[derive(Clone, PartialEq, Debug)]
pub struct EventPage<P> {
    /// What the reader made of the events.
    pub page: P,
    /// The key behind which there may be more.
    pub next: Option<PageKey>,
    /// The cluster time of which it shows everything, and nothing later; `None` where it shows what was there
    /// when each event was read.
    pub as_of: Option<Timestamp>,
}

/// A page that is being read.
pub(super) struct Reading<P, T> {
    page: P,
    take: T,
    begun: Instant,
    patience: Duration,
    reached: Option<Result<PageKey, PageKeyError>>,
    count: usize,
    limit: Option<usize>,
    newest_first: bool,
    /// Whether it ends before what the database has.
    ended: bool,
}

impl<P, T: Fn(&mut P, &RawDocument) -> Taken> Reading<P, T> {
    /// Begins with nothing.
    pub(super) fn new(page: P, take: T, query: &EventQuery, patience: Duration) -> Self {
        Self {
            page,
            take,
            begun: Instant::now(),
            patience,
            reached: None,
            count: 0,
            limit: query.limit,
            newest_first: query.newest_first,
            ended: false,
        }
    }

    /// Takes what stands in one reply. The first event is taken however long that takes, so that every page
    /// comes further.
    pub(super) fn take(mut self, batch: &RawBatch) -> mongodb::error::Result<Self> {
        for item in batch.doc_slices()? {
            let RawBsonRef::Document(event) = item? else {
                continue;
            };
            if self.is_over() {
                return Ok(self);
            }
            if self.is_late() || (self.take)(&mut self.page, event) == Taken::Full {
                self.ended = true;
                return Ok(self);
            }
            self.reached = Some(event_page_key(event, self.newest_first));
            self.count += 1;
        }
        self.ended = self.is_late();
        Ok(self)
    }

    fn is_late(&self) -> bool {
        self.reached.is_some() && self.begun.elapsed() > self.patience
    }

    /// Whether the page may end where a reading failed: what was read before stands.
    pub(super) fn may_end(&self, error: &StoreError) -> bool {
        self.reached.is_some() && (error.is_time_limit() || error.is_snapshot_lost())
    }

    /// Ends it before what the database has.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether nothing more is taken.
    pub(super) fn is_over(&self) -> bool {
        self.ended || self.limit == Some(self.count)
    }

    /// The page, which shows this time.
    pub(super) fn finish(self, as_of: Option<Timestamp>) -> Result<EventPage<P>, StoreError> {
        let more = self.is_over();
        let reached = self.reached.transpose();
        let reached = reached.map_err(|_| StoreError::Unexpected("an event has no usable _id"))?;
        Ok(EventPage {
            page: self.page,
            next: reached.filter(|_| more).map(|key| key.shown_as_of(as_of)),
            as_of,
        })
    }
}
