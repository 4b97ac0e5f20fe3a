//! The stretches of time in which events with an estimated date may have been committed.
//!
//! Such an event was committed at its estimated place or later, but before it was dated. If it does not
//! tell its age, it may have been committed at any time before that. The stretch is noted in `migrations`.
//! A replay that begins inside a stretch, and so after the place, may miss the event. A replay that reads
//! the place shows it.

use bson::{Bson, DateTime, Document, Timestamp, doc};

use crate::{
    position::date_of,
    store::{MIGRATIONS, Store, StoreError},
};

const NOTE: &str = "guesses";
/// The most stretches that are kept apart. More are joined into one, which reports too much and misses nothing.
const MOST_STRETCHES: i32 = 100;
/// Seconds by which the clock of an estimate may be ahead of the server's.
const CLOCKS_APART_SECONDS: u32 = 60;

impl Store {
    /// Notes that events may have been committed at any time between `from` and `to`, which is now, and are
    /// dated at `from` or later.
    pub(super) async fn note_estimates(
        &self,
        from: DateTime,
        to: DateTime,
    ) -> Result<(), StoreError> {
        let retention = i64::try_from(self.retention().as_millis()).unwrap_or(i64::MAX);
        let kept = DateTime::from_millis(to.timestamp_millis().saturating_sub(retention));
        let note = doc! {
            "update": MIGRATIONS,
            "updates": [{"q": {"_id": NOTE}, "u": noted(from, to, kept), "upsert": true}],
            "writeConcern": {"w": "majority"},
        };
        self.run(note).await.map(drop)
    }

    /// Whether a reading from `start` to `end` may miss an event that was committed after `since`, because the
    /// event is dated before or after all that is read.
    pub async fn may_miss_estimated(
        &self,
        start: Timestamp,
        since: Timestamp,
        end: Timestamp,
    ) -> Result<bool, StoreError> {
        let ahead = end.time.saturating_add(CLOCKS_APART_SECONDS);
        let lacked = doc! {
            "to": {"$gte": date_of(since.time)},
            "$or": [
                {"from": {"$lt": date_of(start.time)}},
                {"from": {"$lte": date_of(ahead)}, "to": {"$gt": date_of(end.time)}},
            ],
        };
        let notes = self.database().collection::<Document>(MIGRATIONS);
        let find = notes
            .find_one(doc! {"_id": NOTE, "stretches": {"$elemMatch": lacked}})
            .max_time(self.server_limit());
        Ok(self.with_deadline(find).await?.is_some())
    }
}

/// Returns the update of the note. It joins the stretch with those that it touches, or with all if they are
/// too many, and forgets those before `kept`, whose events are gone.
fn noted(from: DateTime, to: DateTime, kept: DateTime) -> Vec<Document> {
    let stretches =
        |condition: Document, of: Bson| doc! {"$filter": {"input": of, "cond": condition}};
    let known = doc! {"$ifNull": ["$stretches", []]};
    let joins = doc! {"$or": [
        {"$gte": ["$$this.to", from]},
        {"$gte": [{"$size": "$stretches"}, MOST_STRETCHES]},
    ]};
    let joined = doc! {
        "from": {"$min": [from, {"$min": "$joined.from"}]},
        "to": {"$max": [to, {"$max": "$joined.to"}]},
    };
    let others = doc! {"$not": [{"$in": ["$$this", "$joined"]}]};
    let all = "$stretches";
    vec![
        doc! {"$set": {"stretches": stretches(doc! {"$gte": ["$$this.to", kept]}, known.into())}},
        doc! {"$set": {"joined": stretches(joins, all.into())}},
        doc! {"$set": {"stretches": {"$concatArrays": [stretches(others, all.into()), [joined]]}}},
        doc! {"$unset": "joined"},
    ]
}
