//! Pages of past events, in the order of the log.
//!
//! The order is (`ts`, `_id`), as in the index. Events of ours carry the server's timestamp. Events that
//! other programs inserted get the timestamp of their commit a moment later. Until then they have none,
//! and are the newest. A page that begins with the newest begins with them. A page that begins with the
//! oldest follows the index, in which a missing `ts` (and one of another type) comes before every
//! timestamp.
//!
//! All pages of a reading show one point in time: that of the first page, which its cursor passes on. So a
//! client that continues with the feed after that point gets each event once, even though an event may
//! be committed later than its `ts` says. The server can read the past for some minutes only. After that,
//! pages show what is there.

mod reading;

use std::time::Duration;

use bson::{Bson, Document, RawDocument, RawDocumentBuf, Timestamp, doc};
use futures_util::TryStreamExt as _;
use mongodb::{
    ClientSession, Collection,
    action::Find,
    options::{Hint, ReadConcern},
    raw_batch_cursor::SessionRawBatchCursor,
};
use tokio::time::sleep;

use self::reading::Reading;
pub use self::reading::{EventPage, PageStep};
use super::page_key::PageKey;
use crate::{
    event::{DEFAULT_TYPE, TS_FIELD, default_source},
    store::{Store, StoreError},
};

/// The most events in one reply. The server bounds its bytes.
const BATCH_EVENTS: u32 = 1_000;
/// Attempts to read a point in time that the server offers but cannot read, before a page does without one.
const ATTEMPTS: u32 = 5;
/// Pause between two of these.
const PAUSE: Duration = Duration::from_millis(20);

/// A query for a page of events.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// The event after which the page begins; `None` begins with the oldest.
    pub after: Option<PageKey>,
    /// The event before which the page ends; `None` goes on to the newest.
    pub before: Option<PageKey>,
    /// Begins with the newest rather than with the oldest.
    pub newest_first: bool,
    /// Only those shown with this `type`.
    pub type_: Option<String>,
    /// Only those shown with this `source`.
    pub source: Option<String>,
    /// Only those with this `subject`.
    pub subject: Option<String>,
    /// Only those whose whole document matches this query.
    pub filter: Option<Document>,
    /// The latest point in time that may be shown, and that a first page shows; `None` is the newest that a majority has.
    pub as_of: Option<Timestamp>,
    /// The most events that are read.
    pub limit: Option<usize>,
    /// Time that the reading may take; `None` is the time of any request to the database.
    pub time_limit: Option<Duration>,
}

/// The point in time that a page shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AsOf {
    /// The newest point that a majority has.
    Newest,
    /// The point of the page before.
    Time(Timestamp),
    /// No point in particular.
    Unknown,
}

impl AsOf {
    /// Chooses the point in time. Between two keys it is the earlier one: continuing from there repeats events
    /// rather than missing some. It is never behind what may be shown: a key says what its client wrote into it.
    fn wanted(query: &EventQuery) -> Self {
        let mut keys = query.after.iter().chain(&query.before).peekable();
        if keys.peek().is_none() {
            return query.as_of.map_or(Self::Newest, Self::Time);
        }
        let earliest = keys.filter_map(PageKey::as_of).chain(query.as_of).min();
        earliest.map_or(Self::Unknown, Self::Time)
    }
}

/// A part of the collection that one query reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    All,
    /// Events inserted a moment ago without a `ts`.
    Undated,
    Dated,
}

impl Part {
    /// Returns the parts in which a page is read.
    fn of(query: &EventQuery) -> &'static [Self] {
        let is_dated = |key: &Option<PageKey>| key.as_ref().map(PageKey::is_dated);
        if !query.newest_first {
            &[Self::All]
        } else if is_dated(&query.before) == Some(true) {
            &[Self::Dated]
        } else if is_dated(&query.after) == Some(false) {
            &[Self::Undated]
        } else {
            &[Self::Undated, Self::Dated]
        }
    }

    /// Whether an event with this key is in this part.
    fn holds(self, key: &PageKey) -> bool {
        match self {
            Self::All => true,
            Self::Undated => !key.is_dated(),
            Self::Dated => key.is_dated(),
        }
    }

    fn condition(self) -> Option<Document> {
        match self {
            Self::All => None,
            Self::Undated => Some(doc! {TS_FIELD: Bson::Null}),
            Self::Dated => Some(doc! {TS_FIELD: {"$ne": Bson::Null}}),
        }
    }
}

impl Store {
    /// Reads a page of events in the order asked for, and shows them to `take` one by one. Returns the key
    /// after which there may be more if the page is full, if its time is up, or if `query.limit` events
    /// were read. The key is of no event that is hidden. If the server finds nothing in time, the error is
    /// [`StoreError::TooSlow`]. A query that the server cannot read is refused.
    ///
    /// `take` may be slow: it runs on threads that serve nobody else.
    pub async fn read_events<P, T>(
        &self,
        query: &EventQuery,
        page: P,
        take: T,
    ) -> Result<EventPage<P>, StoreError>
    where
        P: Send + 'static,
        T: Fn(&mut P, &RawDocument) -> PageStep + Send + 'static,
    {
        let time_limit = self.page_time_limit(query);
        let mut reading = Reading::new(page, take, query, time_limit);
        let too_slow = |error: StoreError| match error {
            error if error.is_time_limit() => StoreError::TooSlow { waited: time_limit },
            error => error.of_query(),
        };
        let begun = self.begin_page(query).await.map_err(too_slow)?;
        let (mut session, parts) = begun;
        for mut part in parts {
            let mut batches = part.stream(&mut session);
            while !reading.is_over() {
                match self.with_deadline(batches.try_next()).await {
                    Ok(Some(_)) if reading.is_stuck() => {
                        return Err(StoreError::TooSlow { waited: time_limit });
                    }
                    Ok(Some(batch)) => reading = offload(move || reading.take(&batch)).await??,
                    Ok(None) => break,
                    Err(error) if reading.may_end(&error) => reading.end(),
                    Err(error) => return Err(too_slow(error)),
                }
            }
        }
        reading.finish(session.snapshot_time())
    }

    fn page_time_limit(&self, query: &EventQuery) -> Duration {
        let limit = self.server_limit();
        query.time_limit.map_or(limit, |time| time.min(limit))
    }

    /// Begins to read all parts, at one point in time if the server can.
    async fn begin_page(
        &self,
        query: &EventQuery,
    ) -> Result<(ClientSession, Vec<SessionRawBatchCursor>), StoreError> {
        let mut as_of = AsOf::wanted(query);
        let mut attempt = 1;
        loop {
            match self.find_parts(query, as_of).await {
                Err(error) if as_of != AsOf::Unknown && error.is_snapshot_lost() => {
                    let latest = query.as_of.map_or(AsOf::Newest, AsOf::Time);
                    if as_of == latest && attempt < ATTEMPTS {
                        attempt += 1;
                        sleep(PAUSE).await;
                    } else if query.as_of.is_none() {
                        as_of = AsOf::Unknown;
                    } else if as_of == latest {
                        // Nothing newer may be shown.
                        return Err(error);
                    } else {
                        as_of = latest;
                    }
                }
                begun => return begun,
            }
        }
    }

    async fn find_parts(
        &self,
        query: &EventQuery,
        as_of: AsOf,
    ) -> Result<(ClientSession, Vec<SessionRawBatchCursor>), StoreError> {
        let session = self.client().start_session();
        // The client's own concern (majority) would override the snapshot's.
        let (session, concern) = match as_of {
            AsOf::Newest => (session.snapshot(true), ReadConcern::snapshot()),
            AsOf::Time(time) => {
                let session = session.snapshot(true).snapshot_time(time);
                (session, ReadConcern::snapshot())
            }
            AsOf::Unknown => (session, ReadConcern::majority()),
        };
        let mut session = self.with_deadline(session).await?;
        let events = self.events();
        let mut cursors = Vec::new();
        for part in Part::of(query) {
            let find = self.find_part(&events, query, *part);
            let find = find.read_concern(concern.clone()).session(&mut session);
            cursors.push(self.with_deadline(find.batch()).await?);
        }
        Ok((session, cursors))
    }

    fn find_part<'a>(
        &self,
        events: &'a Collection<RawDocumentBuf>,
        query: &EventQuery,
        part: Part,
    ) -> Find<'a, RawDocumentBuf> {
        let direction = if query.newest_first { -1 } else { 1 };
        let mut find = events
            .find(self.event_filter(query, part))
            .sort(doc! {TS_FIELD: direction, "_id": direction})
            .hint(Hint::Name("ts".to_owned()))
            .batch_size(BATCH_EVENTS)
            .max_time(self.page_time_limit(query));
        if let Some(limit) = query.limit {
            find = find.limit(i64::try_from(limit.max(1)).unwrap_or(i64::MAX));
        }
        if let Some(after) = query.after.as_ref().filter(|key| part.holds(key)) {
            find = find.min(after.bounds());
        }
        if let Some(before) = query.before.as_ref().filter(|key| part.holds(key)) {
            find = find.max(before.bounds());
        }
        find
    }

    fn event_filter(&self, query: &EventQuery, part: Part) -> Document {
        let mut all: Vec<_> = part.condition().into_iter().collect();
        if let Some(after) = &query.after {
            // `min` is inclusive.
            all.push(doc! {"_id": {"$ne": after.id().clone()}});
        }
        if let Some(wanted) = &query.type_ {
            all.push(doc! {"type": shown_as(wanted, DEFAULT_TYPE)});
        }
        if let Some(wanted) = &query.source {
            all.push(doc! {"source": shown_as(wanted, &default_source(self.database_name()))});
        }
        if let Some(wanted) = &query.subject {
            all.push(doc! {"subject": wanted});
        }
        all.extend(query.filter.clone());
        if all.is_empty() {
            doc! {}
        } else {
            doc! {"$and": all}
        }
    }
}

/// Returns the condition for an attribute that is shown as `wanted`: it is that text, or it is missing and
/// `wanted` is its default.
fn shown_as(wanted: &str, default: &str) -> Document {
    if wanted == default {
        doc! {"$in": [wanted, Bson::Null]}
    } else {
        doc! {"$eq": wanted}
    }
}

/// Does work on a thread of its own. A panic in it becomes the caller's.
async fn offload<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(StoreError::Unexpected(
            "a page was aborted while it was read",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::event_page_key;

    #[test]
    fn no_key_shows_what_is_behind_the_latest_point() {
        let at = |time| Timestamp { time, increment: 0 };
        let document = bson::rawdoc! {"_id": 1, "ts": at(1)};
        let key = event_page_key(&document, false).unwrap();
        let wanted = |of_key: Option<Timestamp>, latest: Option<Timestamp>| {
            AsOf::wanted(&EventQuery {
                after: Some(key.clone().shown_as_of(of_key)),
                as_of: latest,
                ..EventQuery::default()
            })
        };
        assert_eq!(wanted(Some(at(9)), Some(at(5))), AsOf::Time(at(5)));
        assert_eq!(wanted(Some(at(3)), Some(at(5))), AsOf::Time(at(3)));
        assert_eq!(wanted(Some(at(9)), None), AsOf::Time(at(9)));
        assert_eq!(wanted(None, Some(at(5))), AsOf::Time(at(5)));
        assert_eq!(wanted(None, None), AsOf::Unknown);
    }
}
