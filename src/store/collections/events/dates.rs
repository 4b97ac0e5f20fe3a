//! When events of other programs were committed.
//!
//! Events of ours carry `ts`, their place in the log, and `storedAt`, from which retention counts. What
//! other programs insert lacks both, or one. The feed sees when each was committed, and [`Store::date_events`] writes
//! it into what lacks. Where no node saw it, the oplog is asked, and then the `_id`; a field that a program set
//! itself is left as it is.

use std::collections::{HashMap, HashSet};

use bson::{Bson, DateTime, Document, RawDocument, Timestamp, doc};
use mongodb::error::Error;

use crate::{
    event::{STORED_AT_FIELD, TS_FIELD},
    store::{EVENTS, Store, StoreError, client::read::collect, unreadable::shown_id},
};

/// Events that are dated in one command at most: short enough to be done well within the time limit.
const DATED_AT_ONCE: usize = 500;
/// Undated events that are found at once, at most.
const FOUND_AT_ONCE: i64 = 5_000;
/// An event, and when it was committed.
#[derive(Clone, PartialEq, Debug)]
pub struct Committed {
    /// Its `_id`.
    pub id: Bson,
    /// The cluster time of the commit.
    pub at: Timestamp,
    /// The server's clock then.
    pub wall_time: DateTime,
}

/// A stored event that lacks one of the two fields.
#[derive(Clone, PartialEq, Debug)]
pub struct Undated {
    /// Its `_id`.
    pub id: Bson,
    pub(super) stored_at: Option<DateTime>,
}

impl Undated {
    fn of(event: &RawDocument) -> Result<Self, Error> {
        let id = event.get("_id")?.map_or(Ok(Bson::Null), Bson::try_from)?;
        let stored_at = event.get_datetime(STORED_AT_FIELD).ok();
        Ok(Self { id, stored_at })
    }

    /// When it was made, as far as it says.
    pub(super) fn made_at(&self) -> Option<DateTime> {
        match self.id {
            Bson::ObjectId(id) => Some(id.timestamp()),
            _ => self.stored_at,
        }
    }

    /// The second in which it was committed, or one before that: the first of all where what it says cannot be, or
    /// it says nothing.
    fn not_before(&self, now: DateTime) -> u32 {
        let made_at = self.made_at().filter(|made_at| *made_at <= now);
        made_at.map_or(0, seconds)
    }

    /// The best guess at its place: not after `now`. Retention counts from now, so that an event of any age
    /// stays for as long as it is promised.
    pub fn guess(self, now: DateTime) -> Committed {
        let made_at = self.made_at().map_or(now, |made_at| made_at.min(now));
        let at = Timestamp {
            time: seconds(made_at),
            increment: 0,
        };
        Committed {
            id: self.id,
            at,
            wall_time: now,
        }
    }
}

impl Store {
    /// Writes when events were committed into those that do not have it. Returns how many lacked it.
    pub async fn date_events(&self, events: &[Committed]) -> Result<u64, StoreError> {
        let mut dated = 0;
        for some in latest(events).chunks(DATED_AT_ONCE) {
            let undated = self.undated_among(some).await?;
            let updates: Vec<Document> = some
                .iter()
                .filter(|event| undated.contains(&event.id.to_string()))
                .map(|event| dating(event))
                .collect();
            if updates.is_empty() {
                continue;
            }
            let update = doc! {
                "update": EVENTS,
                "updates": updates,
                "ordered": false,
                "writeConcern": {"w": "majority"},
            };
            let answer = self.run(update).await?;
            dated += u64::try_from(answer.get_i32("nModified").unwrap_or(0)).unwrap_or(0);
        }
        Ok(dated)
    }

    /// Dates events by what they say of themselves. That may put one before places that clients have passed
    /// already, and so it is noted first: replays from there tell that they may lack some.
    pub async fn date_by_guess(
        &self,
        events: Vec<Undated>,
        now: DateTime,
    ) -> Result<u64, StoreError> {
        let first = events.iter().map(|event| event.not_before(now)).min();
        if let Some(first) = first.filter(|first| *first < seconds(now)) {
            let from = DateTime::from_millis(i64::from(first) * 1_000);
            self.note_guesses(from, now).await?;
        }
        let guesses: Vec<_> = events.into_iter().map(|event| event.guess(now)).collect();
        self.date_events(&guesses).await
    }

    /// Those of them that another node has not dated yet: the others cost one look and no write.
    async fn undated_among(&self, events: &[&Committed]) -> Result<HashSet<String>, StoreError> {
        let ids: Vec<&Bson> = events.iter().map(|event| &event.id).collect();
        let mut filter = lacking();
        filter.insert("_id", doc! {"$in": ids});
        let found = self.find_undated(filter, FOUND_AT_ONCE).await?;
        Ok(found.iter().map(|undated| undated.id.to_string()).collect())
    }

    /// Some of the events that lack a date, and whether there may be more.
    pub async fn undated_events(&self) -> Result<(Vec<Undated>, bool), StoreError> {
        let found = self.find_undated(lacking(), FOUND_AT_ONCE).await?;
        let more = i64::try_from(found.len()).is_ok_and(|found| found >= FOUND_AT_ONCE);
        Ok((found, more))
    }

    async fn find_undated(&self, filter: Document, limit: i64) -> Result<Vec<Undated>, StoreError> {
        let events = self.events();
        let find = events
            .find(filter)
            .projection(doc! {"_id": 1, STORED_AT_FIELD: 1})
            .limit(limit)
            .max_time(self.server_limit());
        let found = self
            .with_deadline(async { collect(find.batch().await?).await })
            .await?;
        let undated = found.iter().filter_map(|event| {
            let read = Undated::of(event);
            read.inspect_err(|error| self.note_unreadable(EVENTS, shown_id(event), error))
                .ok()
        });
        Ok(undated.collect())
    }
}

/// The last commit of each: what was deleted and inserted again is what the later one made.
fn latest(events: &[Committed]) -> Vec<&Committed> {
    let mut latest: HashMap<String, &Committed> = HashMap::new();
    for event in events {
        let known = latest.entry(event.id.to_string()).or_insert(event);
        if event.at > known.at {
            *known = event;
        }
    }
    latest.into_values().collect()
}

/// Events that lack a field: each part is served by the index on it.
fn lacking() -> Document {
    doc! {"$or": [{STORED_AT_FIELD: Bson::Null}, {TS_FIELD: Bson::Null}]}
}

/// The update that dates an event: what is there stays.
fn dating(event: &Committed) -> Document {
    let or = |field: &str, value: Bson| doc! {"$ifNull": [format!("${field}"), value]};
    doc! {
        "q": {"_id": {"$eq": event.id.clone()}},
        "u": [{"$set": {
            TS_FIELD: or(TS_FIELD, event.at.into()),
            STORED_AT_FIELD: or(STORED_AT_FIELD, event.wall_time.into()),
        }}],
    }
}

pub(super) fn seconds(date: DateTime) -> u32 {
    let seconds = date.timestamp_millis().div_euclid(1_000).max(0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
