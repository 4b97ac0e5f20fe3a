//! Pages of past events, in the log's own order.
//!
//! The order is (`ts`, `_id`), as the index has it. Events of ours carry the server's timestamp, and those
//! that other programs inserted get that of their commit a moment later; until then they have none, and are
//! the newest. A page that begins with the newest begins with them, and only one that begins with the oldest follows
//! the index, where what is missing (and a `ts` of another type than timestamp) stands before every timestamp.
//!
//! All pages of a reading show one point in time: that of the first, which its cursor hands on. So a client
//! that goes on with the feed behind that point has each event once, although an event may be committed later than its `ts`
//! says. The server reads so far back for some minutes only; then pages show what is there.

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
pub use self::reading::{EventPage, Taken};
use super::page_key::PageKey;
use crate::{
    event::{DEFAULT_TYPE, TS_FIELD, default_source},
    store::{Store, StoreError},
};

/// Events in one reply at most; its bytes are bounded by the server.
const BATCH: u32 = 1_000;
/// A point in time that the server offers and cannot read is asked for so often, before a page does without.
const ATTEMPTS: u32 = 5;
/// Between two of these.
const PAUSE: Duration = Duration::from_millis(20);

/// Which events, and from where.
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
    /// How many are read at most.
    pub limit: Option<usize>,
    /// How long the reading may take.
    pub patience: Patience,
}

/// How long is read at most; as long as any request waits for the database, where nothing is said.
#[derive(Clone, Copy, Debug)]
pub struct Patience(pub Duration);

impl Default for Patience {
    fn default() -> Self {
        Self(Duration::MAX)
    }
}

/// The point in time that a page shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AsOf {
    /// The newest that a majority has.
    Newest,
    /// That of the page before.
    Time(Timestamp),
    /// None in particular.
    Unknown,
}

impl AsOf {
    /// Between two keys the earlier point is shown: whoever goes on from there repeats rather than lacks.
    fn wanted(query: &EventQuery) -> Self {
        let mut keys = query.after.iter().chain(&query.before).peekable();
        if keys.peek().is_none() {
            return Self::Newest;
        }
        let earliest = keys.filter_map(PageKey::as_of).min();
        earliest.map_or(Self::Unknown, Self::Time)
    }
}

/// A part of the collection, which is read as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    All,
    /// What was inserted a moment ago without a `ts`.
    Undated,
    Dated,
}

impl Part {
    /// The parts in which a page is read.
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
    /// Reads a page of events in the order asked for, one by one, and gives the key behind which there may
    /// be more: where the page is full, where its time is up, or `query.limit` were read. A server that
    /// finds nothing in that time is [`StoreError::TooSlow`]; a query that it cannot read is refused.
    ///
    /// `take` may take its time: it runs on threads that serve nobody else.
    pub async fn read_events<P, T>(
        &self,
        query: &EventQuery,
        page: P,
        take: T,
    ) -> Result<EventPage<P>, StoreError>
    where
        P: Send + 'static,
        T: Fn(&mut P, &RawDocument) -> Taken + Send + 'static,
    {
        let patience = query.patience.0.min(self.server_limit());
        let mut reading = Reading::new(page, take, query, patience);
        let too_slow = |error: StoreError| match error {
            error if error.is_time_limit() => StoreError::TooSlow { waited: patience },
            error => error.of_query(),
        };
        let begun = self.begin_page(query).await.map_err(too_slow)?;
        let (mut session, parts) = begun;
        for mut part in parts {
            let mut batches = part.stream(&mut session);
            while !reading.is_over() {
                match self.with_deadline(batches.try_next()).await {
                    Ok(Some(batch)) => reading = aside(move || reading.take(&batch)).await??,
                    Ok(None) => break,
                    Err(error) if reading.may_end(&error) => reading.end(),
                    Err(error) => return Err(too_slow(error)),
                }
            }
        }
        reading.finish(session.snapshot_time())
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
                    if as_of == AsOf::Newest && attempt < ATTEMPTS {
                        attempt += 1;
                        sleep(PAUSE).await;
                    } else {
                        as_of = AsOf::Unknown;
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
        // The client's own concern (majority) would keep a snapshot's from being sent.
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
            .batch_size(BATCH)
            .max_time(query.patience.0.min(self.server_limit()));
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

/// The condition under which an attribute is shown as `wanted`: it is that text, or it is missing and
/// that is its default.
fn shown_as(wanted: &str, default: &str) -> Document {
    if wanted == default {
        doc! {"$in": [wanted, Bson::Null]}
    } else {
        doc! {"$eq": wanted}
    }
}

/// Does work on a thread of its own; a panic in it is the caller's.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(StoreError::Unexpected("a page was cut while it was read")),
    }
}
