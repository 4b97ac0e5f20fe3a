//! The commits of events that no node saw, found in the oplog.

use std::time::Duration;

use bson::{Bson, DateTime, Document, RawBsonRef, RawDocument, Timestamp, doc};

use super::dates::{EventCommit, UndatedEvent, seconds};
use crate::{
    position::date_of,
    store::{EVENTS, Store, StoreError, client::read::collect},
};

/// Seconds by which clocks of programs that insert events may be ahead of the server's.
const CLOCKS_APART_SECONDS: u32 = 60;
/// Time for which the oplog is searched. It has no index, and is as long as the operator made it.
const SEARCH_LIMIT: Duration = Duration::from_millis(1_500);
/// Seconds back to which the oplog is searched for an event that says nothing about its age.
const SEARCHED_SECONDS: u32 = 3_600;

impl Store {
    /// Finds the commits of those events that the oplog still has. Returns nothing if the oplog may not be
    /// read, or if that takes too long.
    pub async fn find_commits(
        &self,
        events: &[UndatedEvent],
        now: DateTime,
    ) -> Result<Vec<EventCommit>, StoreError> {
        match self.search_oplog(events, now).await {
            Ok(found) => Ok(found),
            Err(error) if error.is_unavailable() && !error.is_slowness() => Err(error),
            Err(error) => {
                tracing::debug!(%error, "the oplog cannot be searched for the commits of events");
                Ok(Vec::new())
            }
        }
    }

    async fn search_oplog(
        &self,
        events: &[UndatedEvent],
        now: DateTime,
    ) -> Result<Vec<EventCommit>, StoreError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let oldest = self.oplog_begin().await?;
        let Some(time) = searched_from(events, oldest, now) else {
            return Ok(Vec::new());
        };
        let ids: Vec<&Bson> = events.iter().map(|event| &event.id).collect();
        let inserts = doc! {
            "ts": {"$gte": Timestamp { time, increment: 0 }},
            "op": "i",
            "ns": format!("{}.{EVENTS}", self.database_name()),
            "o._id": {"$in": ids},
        };
        let oplog = self
            .client()
            .database("local")
            .collection::<Document>("oplog.rs");
        let find = oplog
            .find(inserts)
            .projection(doc! {"ts": 1, "wall": 1, "o._id": 1})
            .max_time(SEARCH_LIMIT.min(self.server_limit()));
        let found = self
            .probe(async { collect(find.batch().await?).await })
            .await?;
        Ok(found.iter().filter_map(|entry| committed(entry)).collect())
    }
}

/// Returns the second from which the oplog may have one of them. `None` if all are older than its oldest entry.
fn searched_from(events: &[UndatedEvent], oldest: Option<Timestamp>, now: DateTime) -> Option<u32> {
    let oldest = oldest.map_or(0, |oldest| oldest.time);
    let made_at = |event: &UndatedEvent| match event.made_at() {
        Some(made_at) => seconds(made_at),
        None => seconds(now).saturating_sub(SEARCHED_SECONDS).max(oldest),
    };
    let first = events.iter().map(made_at).filter(|at| *at >= oldest).min();
    first.map(|first| first.saturating_sub(CLOCKS_APART_SECONDS))
}

fn committed(entry: &RawDocument) -> Option<EventCommit> {
    let inserted = entry.get_document("o").ok()?;
    let id = match inserted.get("_id") {
        Ok(Some(id)) => Bson::try_from(id).ok()?,
        _ => return None,
    };
    let at = entry.get_timestamp("ts").ok()?;
    let wall_time = match entry.get("wall") {
        Ok(Some(RawBsonRef::DateTime(wall_time))) => wall_time,
        _ => date_of(at.time),
    };
    Some(EventCommit { id, at, wall_time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_oplog_does_not_make_it_be_searched() {
        let at = |second: i64| DateTime::from_millis(second * 1_000);
        let undated = |stored_at: Option<i64>| UndatedEvent {
            id: Bson::Int32(1),
            stored_at: stored_at.map(at),
        };
        let (old, fresh, silent) = (undated(Some(9_000)), undated(Some(10_500)), undated(None));
        let oldest = Some(Timestamp {
            time: 10_000,
            increment: 1,
        });
        let now = at(20_000);
        for (events, oldest, begin) in [
            (vec![old.clone()], oldest, None),
            (vec![old.clone()], None, Some(8_940)),
            (vec![old.clone(), fresh], oldest, Some(10_440)),
            (vec![old, silent], oldest, Some(16_340)),
            (vec![], oldest, None),
        ] {
            assert_eq!(searched_from(&events, oldest, now), begin, "{events:?}");
        }
    }
}
