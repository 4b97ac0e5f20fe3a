//! The archive: stored events in the order of `ts`, for replays from before the oplog.
//!
//! The server fills in `ts` when an insert begins, a little before its commit. So a replay that starts at a
//! commit has to begin earlier. Documents of other programs get the time of their commit as `ts`, a moment
//! later. Until then, or with a `ts` of another type, they are in no order.

use bson::{Bson, RawDocumentBuf, Timestamp, doc, oid::ObjectId};
use mongodb::options::{Hint, ReadConcern};

use super::page_key::PageKey;
use crate::{
    event::{STORED_AT_FIELD, TS_FIELD},
    position::date_of,
    store::{EVENTS, Store, StoreError},
};

/// The index by `ts` and `_id`.
const INDEX: &str = "ts";
/// The most events on a page. The server bounds its bytes.
const PAGE_EVENTS: i64 = 1_000;
/// Seconds by which clocks of programs that insert events may be behind the server's.
const CLOCKS_APART_SECONDS: u32 = 60;

impl Store {
    /// Reads a page of the archive: the first events with `ts` from `from` to `to`, both included, after the
    /// key `after`. The page is a reply of the server, with the documents in `cursor.firstBatch`. It has
    /// everything that a change stream has shown up to `to`. With `as_of`, which is not before `to`, it has nothing that
    /// was committed later than that; the error is one of a lost snapshot if the server cannot read so far back any more.
    pub async fn read_archive(
        &self,
        from: Timestamp,
        to: Timestamp,
        after: Option<&PageKey>,
        as_of: Option<Timestamp>,
    ) -> Result<Option<RawDocumentBuf>, StoreError> {
        let (mut session, concern) = if let Some(time) = as_of {
            let session = self.client().start_session();
            let session = session.snapshot(true).snapshot_time(time);
            let session = self.with_deadline(session).await?;
            // The client's own concern (majority) would override the snapshot's.
            (session, ReadConcern::snapshot())
        } else {
            let mut session = self.session().await?;
            session.advance_operation_time(to);
            (session, ReadConcern::majority())
        };
        let events = self.database().collection::<RawDocumentBuf>(EVENTS);
        let mut filter = doc! {TS_FIELD: {"$gte": from, "$lte": to}};
        if let Some(after) = after {
            filter.insert("_id", doc! {"$ne": after.id().clone()});
        }
        // A negative limit asks for a single reply.
        let mut find = events
            .find(filter)
            .sort(doc! {TS_FIELD: 1, "_id": 1})
            .hint(Hint::Name(INDEX.to_owned()))
            .limit(-PAGE_EVENTS)
            .read_concern(concern)
            .max_time(self.server_limit());
        if let Some(after) = after {
            find = find.min(after.bounds());
        }
        let reading = async {
            let mut cursor = find.session(&mut session).batch().await?;
            let mut batches = cursor.stream(&mut session);
            futures_util::TryStreamExt::try_next(&mut batches).await
        };
        let batch = self.with_deadline(reading).await?;
        Ok(batch.map(|batch| batch.as_raw_document().to_owned()))
    }

    /// Whether there are events without `ts` that may have been committed between `from` and `to`.
    pub async fn has_events_without_ts(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<bool, StoreError> {
        let events = self.database().collection::<RawDocumentBuf>(EVENTS);
        let date = date_of(from.time);
        let zero = Timestamp {
            time: 0,
            increment: 0,
        };
        // Missing and null sort before every timestamp.
        let find = events
            .find_one(doc! {
                "$or": [{STORED_AT_FIELD: Bson::Null}, {STORED_AT_FIELD: {"$gte": date}}],
                // An id that was made later was not committed before, whatever its program's clock says.
                "_id": {"$not": {"$gte": made_after(to)}},
            })
            .projection(doc! {"_id": 1})
            .hint(Hint::Name(INDEX.to_owned()))
            .min(doc! {TS_FIELD: Bson::MinKey, "_id": Bson::MinKey})
            .max(doc! {TS_FIELD: zero, "_id": Bson::MinKey})
            .max_time(self.server_limit());
        Ok(self.with_deadline(find).await?.is_some())
    }

    /// Returns the time for which events are kept.
    pub fn retention(&self) -> std::time::Duration {
        self.inner.retention
    }
}

/// Returns the first `ObjectId` that is made once `to` has passed on every clock.
fn made_after(to: Timestamp) -> ObjectId {
    let seconds = to.time.saturating_add(CLOCKS_APART_SECONDS);
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&seconds.to_be_bytes());
    ObjectId::from_bytes(bytes)
}
