//! Pages of past events, in the log's own order.
//!
//! The order is (`ts`, `_id`), as the index has it. Events of ours carry the server's timestamp, and those
//! that other programs inserted get that of their commit a moment later; until then they come first, because a missing
//! `ts` (or one of another type than timestamp) sorts before every timestamp. Inserts that run at the same time take their timestamps
//! before they become visible: a page read in that instant may lack an event that belongs before its end.

use std::time::{Duration, Instant};

use bson::{Bson, Document, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use data_encoding::BASE32HEX_NOPAD;
use futures_util::TryStreamExt as _;
use mongodb::{Collection, action::Find, options::Hint, raw_batch_cursor::RawBatch};

use super::{Store, StoreError};
use crate::{
    event::{DEFAULT_TYPE, TS_FIELD, default_source},
    extjson::reading,
};

/// Events in one reply at most; its bytes are bounded by the server.
const BATCH: u32 = 1_000;

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

/// Where an event stands among pages: its `ts` (null where it has none) and its `_id`.
#[derive(Clone, PartialEq, Debug)]
pub struct PageKey {
    ts: Bson,
    id: Bson,
}

/// Why a page key was not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the page cursor is damaged: it is not one that this service issued")]
pub struct PageKeyError;

/// The page key of a stored event, for who reads on behind it. Of one whose `_id` is no text it is the next
/// that can be written down: nobody is held up by it, and what has the very same `ts` may be passed over.
pub fn event_page_key(event: &RawDocument, newest_first: bool) -> Result<PageKey, PageKeyError> {
    let key = reading(event, |event| {
        let value = |name: &str| event.get(name)?.map_or(Ok(Bson::Null), Bson::try_from);
        Ok(PageKey {
            ts: value(TS_FIELD)?,
            id: value("_id")?,
        })
    });
    let (key, mended) = key.map_err(|_| PageKeyError)?;
    if !mended || has_text_id(event) {
        return Ok(key);
    }
    let id = match (key.id, newest_first) {
        (Bson::String(text), true) => prefix(&text).into(),
        (Bson::String(text), false) => behind(prefix(&text)).map_or(doc! {}.into(), Bson::String),
        (_, true) => Bson::MinKey,
        (_, false) => Bson::MaxKey,
    };
    Ok(PageKey { ts: key.ts, id })
}

fn has_text_id(event: &RawDocument) -> bool {
    let id = event.get("_id");
    id.is_ok_and(|id| id.is_none_or(|id| Bson::try_from(id).is_ok()))
}

/// The part of a text before what is shown in place of what is none.
pub(super) fn prefix(text: &str) -> &str {
    text.split(char::REPLACEMENT_CHARACTER)
        .next()
        .unwrap_or_default()
}

/// The first text behind all that begin so, whatever bytes follow; `None` where there is none.
pub(super) fn behind(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

impl PageKey {
    /// The `_id`.
    pub(super) fn id(&self) -> &Bson {
        &self.id
    }

    /// The key as the index has it.
    pub(super) fn bounds(&self) -> Document {
        doc! {TS_FIELD: self.ts.clone(), "_id": self.id.clone()}
    }

    /// The opaque text that a client keeps.
    pub fn encode(&self) -> Result<String, PageKeyError> {
        let key = doc! {"t": self.ts.clone(), "i": self.id.clone()};
        let key = RawDocumentBuf::try_from(&key).map_err(|_| PageKeyError)?;
        let mut bytes = key.into_bytes();
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        Ok(BASE32HEX_NOPAD.encode(&bytes))
    }

    /// Reads what [`PageKey::encode`] wrote, and nothing else.
    pub fn decode(text: &str) -> Result<Self, PageKeyError> {
        let mut bytes = BASE32HEX_NOPAD
            .decode(text.as_bytes())
            .map_err(|_| PageKeyError)?;
        let check = bytes.split_off(bytes.len().checked_sub(4).ok_or(PageKeyError)?);
        if crc32fast::hash(&bytes).to_be_bytes() != check[..] {
            return Err(PageKeyError);
        }
        let raw = RawDocumentBuf::from_bytes(bytes).map_err(|_| PageKeyError)?;
        let mut key = Document::try_from(&*raw).map_err(|_| PageKeyError)?;
        match (key.remove("t"), key.remove("i")) {
            (Some(ts), Some(id)) => Ok(Self { ts, id }),
            _ => Err(PageKeyError),
        }
    }
}

/// What becomes of an event that was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// It stands on the page, or is passed over.
    Done,
    /// It is not taken: the page ends before it.
    Full,
}

/// A page that is being read.
struct Reading<P, T> {
    page: P,
    take: T,
    begun: Instant,
    patience: Duration,
    reached: Option<Result<PageKey, PageKeyError>>,
    count: usize,
    newest_first: bool,
    /// Whether it ends before what the database has.
    ended: bool,
}

impl<P, T: Fn(&mut P, &RawDocument) -> Taken> Reading<P, T> {
    /// Takes what stands in one reply. The first event is taken however long that takes, so that every page
    /// comes further.
    fn take(mut self, batch: &RawBatch) -> mongodb::error::Result<Self> {
        for item in batch.doc_slices()? {
            let RawBsonRef::Document(event) = item? else {
                continue;
            };
            let late = self.reached.is_some() && self.begun.elapsed() > self.patience;
            if late || (self.take)(&mut self.page, event) == Taken::Full {
                self.ended = true;
                return Ok(self);
            }
            self.reached = Some(event_page_key(event, self.newest_first));
            self.count += 1;
        }
        self.ended = self.begun.elapsed() > self.patience;
        Ok(self)
    }

    fn finish(self, limit: Option<usize>) -> Result<(P, Option<PageKey>), StoreError> {
        let more = self.ended || limit == Some(self.count);
        let reached = self.reached.transpose();
        let reached = reached.map_err(|_| StoreError::Unexpected("an event has no usable _id"))?;
        Ok((self.page, reached.filter(|_| more)))
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
    ) -> Result<(P, Option<PageKey>), StoreError>
    where
        P: Send + 'static,
        T: Fn(&mut P, &RawDocument) -> Taken + Send + 'static,
    {
        let patience = query.patience.0.min(self.server_limit());
        let mut reading = Reading {
            page,
            take,
            begun: Instant::now(),
            patience,
            reached: None,
            count: 0,
            newest_first: query.newest_first,
            ended: false,
        };
        let too_slow = |error: StoreError| match error {
            error if error.is_time_limit() => StoreError::TooSlow { waited: patience },
            error => error.of_query(),
        };
        let events = self.events();
        let find = self.find_page(&events, query).max_time(patience);
        let mut cursor = self.bounded(find.batch()).await.map_err(too_slow)?;
        while !reading.ended {
            match self.bounded(cursor.try_next()).await {
                Ok(Some(batch)) => reading = aside(move || reading.take(&batch)).await??,
                Ok(None) => break,
                Err(error) if error.is_time_limit() && reading.reached.is_some() => {
                    reading.ended = true;
                }
                Err(error) => return Err(too_slow(error)),
            }
        }
        reading.finish(query.limit)
    }

    fn find_page<'a>(
        &self,
        events: &'a Collection<RawDocumentBuf>,
        query: &EventQuery,
    ) -> Find<'a, RawDocumentBuf> {
        let direction = if query.newest_first { -1 } else { 1 };
        let mut find = events
            .find(self.event_filter(query))
            .sort(doc! {TS_FIELD: direction, "_id": direction})
            .hint(Hint::Name("ts".to_owned()))
            .batch_size(BATCH);
        if let Some(limit) = query.limit {
            find = find.limit(i64::try_from(limit.max(1)).unwrap_or(i64::MAX));
        }
        if let Some(after) = &query.after {
            find = find.min(after.bounds());
        }
        if let Some(before) = &query.before {
            find = find.max(before.bounds());
        }
        find
    }

    fn event_filter(&self, query: &EventQuery) -> Document {
        let mut all = Vec::new();
        if let Some(after) = &query.after {
            // `min` is inclusive.
            all.push(doc! {"_id": {"$ne": after.id.clone()}});
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_text_comes_what_begins_with_no_such() {
        for (text, expected) in [
            ("a", Some("b")),
            ("ab\u{10FFFF}", Some("ac")),
            ("\u{D7FF}", Some("\u{E000}")),
            ("\u{10FFFF}", None),
            ("", None),
        ] {
            assert_eq!(behind(text).as_deref(), expected, "{text:?}");
        }
    }
}
