//! Events that other programs inserted without the fields that this service adds.

use bson::{Bson, RawBsonRef, RawDocument};

use super::{Follower, decode::RawChange};
use crate::{
    event::{STORED_AT_FIELD, TS_FIELD},
    store::EventCommit,
};

impl Follower<'_> {
    /// Reports the commit of an event that does not say itself when it was committed. If the task that writes the
    /// dates is too far behind, it finds the event later, and what it can of its commit.
    pub(super) fn report_undated(&self, raw: &RawChange<'_>) {
        let undated = raw.full_document.filter(|event| !is_dated(event));
        let Some(event) = undated else { return };
        let Some(id) = event.get("_id").ok().flatten() else {
            return;
        };
        let Ok(id) = Bson::try_from(id) else { return };
        let committed = EventCommit {
            id,
            at: raw.position.cluster_time(),
            wall_time: raw.wall_time,
        };
        if self.feed.undated.try_send(committed).is_err() {
            self.feed.metrics.feed.oddity("undated_event");
        }
    }
}

/// Whether an event has both fields. Events of this service are recognized by their first and last bytes, so that
/// they need not be searched.
fn is_dated(event: &RawDocument) -> bool {
    const TS_AFTER_OBJECT_ID: std::ops::Range<usize> = 21..25;
    const STORED_AT: &[u8] = b"\x09storedAt\0";
    let bytes = event.as_bytes();
    let tail = bytes.len().checked_sub(STORED_AT.len() + 9);
    if bytes.get(TS_AFTER_OBJECT_ID) == Some(b"\x11ts\0")
        && tail.is_some_and(|at| bytes[at..].starts_with(STORED_AT))
    {
        return true;
    }
    let has = |field: &str| !matches!(event.get(field), Ok(None | Some(RawBsonRef::Null)));
    has(TS_FIELD) && has(STORED_AT_FIELD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{DateTime, Document, RawDocumentBuf, Timestamp, doc, oid::ObjectId};

    #[test]
    fn an_event_is_dated_if_it_has_both_fields_wherever_they_stand() {
        let (id, now) = (ObjectId::new(), DateTime::now());
        let ts = Timestamp {
            time: 5,
            increment: 1,
        };
        for (event, dated) in [
            (doc! {"_id": id, "ts": ts, "x": 1, "storedAt": now}, true),
            (doc! {"_id": 5, "storedAt": now, "x": 1, "ts": ts}, true),
            (doc! {"_id": id, "ts": ts, "x": {"storedAt": now}}, false),
            (doc! {"_id": id, "ts": ts}, false),
            (doc! {"_id": id, "storedAt": now}, false),
            (doc! {"_id": id, "ts": Bson::Null, "storedAt": now}, false),
            (doc! {}, false),
        ] {
            check(&event, dated);
        }
    }

    fn check(event: &Document, dated: bool) {
        let raw = RawDocumentBuf::try_from(event).unwrap();
        assert_eq!(is_dated(&raw), dated, "{event}");
    }
}
