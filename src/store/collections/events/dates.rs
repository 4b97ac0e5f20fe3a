//! The dates of events: when they were committed.
//!
//! Events of ours carry `ts`, their place in the log, and `storedAt`, from which retention counts. Events of
//! other programs lack both, or one. The feed sees when each was committed, and [`Store::date_events`]
//! writes that into the event. If no node saw it, the oplog may tell, and else the `_id`. A field that a
//! program set itself stays as it is.

use std::collections::{HashMap, HashSet};

use bson::{Bson, DateTime, Document, RawDocument, Timestamp, doc};
use mongodb::error::Error;

use crate::{
    event::{STORED_AT_FIELD, TS_FIELD},
    position::date_of,
    store::{EVENTS, Store, StoreError, client::read::collect, unreadable::shown_id},
};

/// The most events that one command dates: few enough to be done well within the time limit.
const DATED_AT_ONCE: usize = 500;
/// The most undated events that are found at once.
const FOUND_AT_ONCE: i64 = 5_000;

/// The commit of an event.
#[derive(Clone, PartialEq, Debug)]
pub struct EventCommit {
    /// The `_id` of the event.
    pub id: Bson,
    /// The cluster time of the commit.
    pub at: Timestamp,
    /// The wall time of the server at that moment.
    pub wall_time: DateTime,
}

/// A stored event that lacks one of the two fields.
#[derive(Clone, PartialEq, Debug)]
pub struct UndatedEvent {
    /// Its `_id`.
    pub id: Bson,
    pub(super) stored_at: Option<DateTime>,
}

impl UndatedEvent {
    fn of(event: &RawDocument) -> Result<Self, Error> {
        let id = event.get("_id")?.map_or(Ok(Bson::Null), Bson::try_from)?;
        let stored_at = event.get_datetime(STORED_AT_FIELD).ok();
        Ok(Self { id, stored_at })
    }

    /// Returns the time at which it was made, as far as the event says.
    pub(super) fn made_at(&self) -> Option<DateTime> {
        match self.id {
            Bson::ObjectId(id) => Some(id.timestamp()),
            _ => self.stored_at,
        }
    }

    /// Returns a second before which it cannot have been committed: the first of all if the event says
    /// nothing, or something impossible.
    fn not_before(&self, now: DateTime) -> u32 {
        let made_at = self.made_at().filter(|made_at| *made_at <= now);
        made_at.map_or(0, seconds)
    }

    /// Estimates its commit: not after `now`. Retention counts from now, so that an event of any age stays
    /// for the promised time.
    pub fn estimate(self, now: DateTime) -> EventCommit {
        let made_at = self.made_at().map_or(now, |made_at| made_at.min(now));
        let at = Timestamp {
            time: seconds(made_at),
            increment: 0,
        };
        EventCommit {
            id: self.id,
            at,
            wall_time: now,
        }
    }
}

impl Store {
    /// Writes the commits of events into those that lack a date. Returns the number of those.
    pub async fn date_events(&self, events: &[EventCommit]) -> Result<u64, StoreError> {
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

    /// Dates events by what they say of themselves. That may put one before positions that clients have
    /// already passed. So it is noted first: replays from there report that they may miss events.
    pub async fn date_by_estimate(
        &self,
        events: Vec<UndatedEvent>,
        now: DateTime,
    ) -> Result<u64, StoreError> {
        let first = events.iter().map(|event| event.not_before(now)).min();
        if let Some(first) = first.filter(|first| *first < seconds(now)) {
            let from = date_of(first);
            self.note_estimates(from, now).await?;
        }
        let estimates: Vec<_> = events
            .into_iter()
            .map(|event| event.estimate(now))
            .collect();
        self.date_events(&estimates).await
    }

    /// Finds those that no other node has dated yet. The others cost one read and no write.
    async fn undated_among(&self, events: &[&EventCommit]) -> Result<HashSet<String>, StoreError> {
        let ids: Vec<&Bson> = events.iter().map(|event| &event.id).collect();
        let mut filter = lacking();
        filter.insert("_id", doc! {"$in": ids});
        let found = self.find_undated(filter, FOUND_AT_ONCE).await?;
        Ok(found.iter().map(|undated| undated.id.to_string()).collect())
    }

    /// Finds some of the events that lack a date. Returns them, and whether there may be more.
    pub async fn undated_events(&self) -> Result<(Vec<UndatedEvent>, bool), StoreError> {
        let found = self.find_undated(lacking(), FOUND_AT_ONCE).await?;
        let more = i64::try_from(found.len()).is_ok_and(|found| found >= FOUND_AT_ONCE);
        Ok((found, more))
    }

    async fn find_undated(
        &self,
        filter: Document,
        limit: i64,
    ) -> Result<Vec<UndatedEvent>, StoreError> {
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
            let read = UndatedEvent::of(event);
            read.inspect_err(|error| self.note_unreadable(EVENTS, shown_id(event), error))
                .ok()
        });
        Ok(undated.collect())
    }
}

/// Returns the last commit of each event: a document that was deleted and inserted again is the later one.
fn latest(events: &[EventCommit]) -> Vec<&EventCommit> {
    let mut latest: HashMap<String, &EventCommit> = HashMap::new();
    for event in events {
        let known = latest.entry(event.id.to_string()).or_insert(event);
        if event.at > known.at {
            *known = event;
        }
    }
    latest.into_values().collect()
}

/// Returns the query for events that lack a field. Each part is served by the index on the field.
fn lacking() -> Document {
    doc! {"$or": [{STORED_AT_FIELD: Bson::Null}, {TS_FIELD: Bson::Null}]}
}

/// Returns the update that dates an event. Fields that are there stay.
fn dating(event: &EventCommit) -> Document {
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
