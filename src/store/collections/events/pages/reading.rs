//! A page of events while it is read, reply by reply.

use std::time::{Duration, Instant};

use bson::{Bson, RawBsonRef, RawDocument, Timestamp};
use mongodb::raw_batch_cursor::RawBatch;

use super::EventQuery;
use crate::{
    event::TS_FIELD,
    store::{
        StoreError,
        collections::events::page_key::{PageKey, PageKeyError, event_page_key},
    },
};

/// The answer of a page to an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageStep {
    /// The event is on the page, or skipped.
    Next,
    /// The event is skipped, and nothing may be told of it.
    Hidden,
    /// The page is full, and ends before the event.
    Full,
}

/// A page that was read.
#[derive(Clone, PartialEq, Debug)]
pub struct EventPage<P> {
    /// The content that `take` built from the events.
    pub page: P,
    /// The key after which there may be more.
    pub next: Option<PageKey>,
    /// The cluster time that it shows: everything up to it, and nothing later. `None` if it shows what was
    /// there when each event was read.
    pub as_of: Option<Timestamp>,
}

/// A page that is being read.
pub(super) struct Reading<P, T> {
    page: P,
    take: T,
    begun: Instant,
    time_limit: Duration,
    /// The `ts` of the first event that was looked at.
    first: Option<Bson>,
    /// A place that may be told, with nothing before it that was not looked at.
    reached: Option<Result<PageKey, PageKeyError>>,
    count: usize,
    limit: Option<usize>,
    newest_first: bool,
    /// True if the page ends although the database has more.
    ended: bool,
}

impl<P, T: Fn(&mut P, &RawDocument) -> PageStep> Reading<P, T> {
    /// Begins with an empty page.
    pub(super) fn new(page: P, take: T, query: &EventQuery, time_limit: Duration) -> Self {
        Self {
            page,
            take,
            begun: Instant::now(),
            time_limit,
            first: None,
            reached: None,
            count: 0,
            limit: query.limit,
            newest_first: query.newest_first,
            ended: false,
        }
    }

    /// Takes the events of one reply. The first event is taken even if the time is up, and others up to a place that may be
    /// told, so that every page makes progress.
    pub(super) fn take(mut self, batch: &RawBatch) -> mongodb::error::Result<Self> {
        for item in batch.doc_slices()? {
            let RawBsonRef::Document(event) = item? else {
                continue;
            };
            if self.is_over() {
                return Ok(self);
            }
            let step = if self.is_late() {
                PageStep::Full
            } else {
                (self.take)(&mut self.page, event)
            };
            match step {
                PageStep::Full => {
                    self.ended = true;
                    return Ok(self);
                }
                // The database was asked for these alone.
                PageStep::Hidden if self.limit.is_none() => self.pass(event),
                PageStep::Next | PageStep::Hidden => {
                    self.reached = Some(event_page_key(event, self.newest_first));
                }
            }
            self.first.get_or_insert_with(|| ts_of(event));
            self.count += 1;
        }
        self.ended = self.is_late();
        Ok(self)
    }

    /// Passes over an event of which nothing may be told but the second that it is from.
    fn pass(&mut self, event: &RawDocument) {
        let Bson::Timestamp(ts) = ts_of(event) else {
            return;
        };
        let place = PageKey::at_second(ts.time, self.newest_first);
        let reached = match &self.reached {
            Some(Ok(reached)) => Some(reached.ts()),
            Some(Err(_)) => return,
            None => self.first.as_ref(),
        };
        if reached.is_some_and(|reached| place.is_beyond(reached, self.newest_first)) {
            self.reached = Some(Ok(place));
        }
    }

    /// Whether twice the time is up, and there is no place yet at which the page may end.
    pub(super) fn is_stuck(&self) -> bool {
        self.reached.is_none() && self.count > 0 && self.begun.elapsed() > 2 * self.time_limit
    }

    fn is_late(&self) -> bool {
        self.reached.is_some() && self.begun.elapsed() > self.time_limit
    }

    /// Whether the page may end where reading failed, with the events read until then.
    pub(super) fn may_end(&self, error: &StoreError) -> bool {
        self.reached.is_some() && (error.is_time_limit() || error.is_snapshot_lost())
    }

    /// Ends the page although the database may have more.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether the page takes no more events.
    pub(super) fn is_over(&self) -> bool {
        self.ended || self.limit == Some(self.count)
    }

    /// Returns the page, which shows this point in time.
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

/// Returns the `ts` of an event; null if it has none, or none that can be read.
fn ts_of(event: &RawDocument) -> Bson {
    let ts = event.get(TS_FIELD).ok().flatten();
    ts.and_then(|ts| Bson::try_from(ts).ok())
        .unwrap_or(Bson::Null)
}
