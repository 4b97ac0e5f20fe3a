//! Where events are that were put at a place by a guess.
//!
//! Such an event was committed at its place or later, until it was put there; at any time until then, where it does not
//! tell its age. That stretch is noted, in `migrations`. A replay that begins within one, and so behind the place, may miss
//! the event; one that reads the place shows it.

use bson::{Bson, DateTime, Document, Timestamp, doc};

use crate::store::{MIGRATIONS, Store, StoreError};

const NOTE: &str = "guesses";
/// Stretches that are told apart. Of more one is made, which tells of too much and misses nothing.
const STRETCHES: i32 = 100;
/// So far the clock that made a guess may be ahead of the server's.
const CLOCKS_APART_SECONDS: u32 = 60;

impl Store {
    /// Notes that events may have been committed at any time from `from` until `to`, which is now, and are put at `from` or
    /// behind it.
    pub(super) async fn note_guesses(
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

    /// Whether a reading from `start` to `end` may lack an event that was committed behind `since`, since it
    /// was put before or behind all that is read.
    pub async fn may_lack_guessed(
        &self,
        start: Timestamp,
        since: Timestamp,
        end: Timestamp,
    ) -> Result<bool, StoreError> {
        let ahead = end.time.saturating_add(CLOCKS_APART_SECONDS);
        let lacked = doc! {
            "to": {"$gte": date(since.time)},
            "$or": [
                {"from": {"$lt": date(start.time)}},
                {"from": {"$lte": date(ahead)}, "to": {"$gt": date(end.time)}},
            ],
        };
        let notes = self.database().collection::<Document>(MIGRATIONS);
        let find = notes
            .find_one(doc! {"_id": NOTE, "stretches": {"$elemMatch": lacked}})
            .max_time(self.server_limit());
        Ok(self.with_deadline(find).await?.is_some())
    }
}

/// The change of the note: a stretch is joined with those that it touches, and all are where they are too many.
/// Those whose events are gone, which is what lies before `kept`, are forgotten.
fn noted(from: DateTime, to: DateTime, kept: DateTime) -> Vec<Document> {
    let stretches =
        |condition: Document, of: Bson| doc! {"$filter": {"input": of, "cond": condition}};
    let known = doc! {"$ifNull": ["$stretches", []]};
    let joins = doc! {"$or": [
        {"$gte": ["$$this.to", from]},
        {"$gte": [{"$size": "$stretches"}, STRETCHES]},
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

fn date(seconds: u32) -> DateTime {
    DateTime::from_millis(i64::from(seconds) * 1_000)
}
