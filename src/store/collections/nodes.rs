//! The collection `nodes`: the heartbeat of each node, with its progress.
//!
//! `{_id, host, address, version, connections, cursor, unsettled, lost, intervalMs, startedAt, seenAt, expiresAt}`,
//! and at the end `stoppingAt` and `stoppedAt`. All times are the server's, so that no node's clock matters.
//! A document stays for a day after the node's last heartbeat: as long as the receipts of teardowns.

use std::time::Duration;

use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use serde::Deserialize;

use crate::{
    position::{Cursor, Position},
    store::{
        NODES, Store, StoreError,
        client::read::collect,
        unreadable::{is_of_a_clock, shown_id},
    },
};

/// Time for which a node, and its work on deletes, is remembered.
pub const TEARDOWN_MEMORY: Duration = Duration::from_hours(24);
/// Heartbeat intervals without a heartbeat after which a node no longer counts as alive.
pub const ALIVE_INTERVALS: i64 = 5;
/// The most nodes that are read. Each start of a process is one, for a day.
pub const MOST_NODES: usize = 10_000;

/// The fixed facts about a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeInfo {
    /// Its id: new at every start.
    pub id: String,
    /// The machine's name.
    pub host: String,
    /// The address that it listens on.
    pub address: String,
    /// The time between two heartbeats.
    pub interval: Duration,
}

impl NodeInfo {
    /// Describes this node, with a new id.
    pub fn new(address: String, interval: Duration) -> Self {
        Self {
            id: format!("node_{}", uuid::Uuid::now_v7().simple()),
            host: gethostname::gethostname().to_string_lossy().into_owned(),
            address,
            interval,
        }
    }
}

/// The progress of a node's work on deletes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeleteProgress {
    /// The position up to which everything is applied; `None` before the first load.
    pub applied: Option<Position>,
    /// The first delete whose receipt is not written yet, if there is one.
    pub unsettled: Option<Position>,
    /// The last delete whose receipt was given up, if there is one.
    pub lost: Option<Position>,
}

impl DeleteProgress {
    /// Whether a delete at a point from `earliest` to `latest` is applied, and its receipt written if it needs one.
    pub fn covers(&self, earliest: Position, latest: Position) -> bool {
        self.applied.is_some_and(|applied| latest <= applied)
            && self.unsettled.is_none_or(|unsettled| latest < unsettled)
            && self.lost.is_none_or(|lost| lost < earliest)
    }
}

/// A heartbeat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// The progress of its work on deletes.
    pub progress: DeleteProgress,
    /// Its open connections.
    pub connections: u64,
    /// True if it is about to stop.
    pub stopping: bool,
}

/// A node as of its last heartbeat.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeRecord {
    /// Its id.
    pub id: String,
    /// The machine's name.
    pub host: String,
    /// The address that it listens on.
    pub address: String,
    /// Its version of this service.
    pub version: String,
    /// Its open connections.
    pub connections: i64,
    /// The progress of its work on deletes.
    pub progress: DeleteProgress,
    /// Milliseconds between two heartbeats.
    pub interval_ms: i64,
    /// The time of its first heartbeat.
    pub started_at: DateTime,
    /// The time of its last heartbeat.
    pub seen_at: DateTime,
    /// The time at which it had stopped in order, with all its sockets closed.
    pub stopped_at: Option<DateTime>,
    /// True if its last heartbeat is recent, and did not say that it stops.
    pub alive: bool,
    /// The time of this read.
    pub read_at: DateTime,
}

/// The stored form, with the server's time at the read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    #[serde(rename = "_id")]
    id: String,
    host: String,
    address: String,
    version: String,
    connections: i64,
    cursor: Option<String>,
    unsettled: Option<String>,
    lost: Option<String>,
    interval_ms: i64,
    started_at: DateTime,
    seen_at: DateTime,
    stopping_at: Option<DateTime>,
    stopped_at: Option<DateTime>,
    now: DateTime,
}

impl Store {
    /// Writes a heartbeat.
    pub async fn write_heartbeat(
        &self,
        info: &NodeInfo,
        heartbeat: Heartbeat,
    ) -> Result<(), StoreError> {
        let cursor = |at: Option<Position>| at.map(|at| at.cursor(self.deployment()));
        let literal = |text: &str| doc! {"$literal": text};
        let mut set = doc! {
            "host": literal(&info.host),
            "address": literal(&info.address),
            "version": env!("CARGO_PKG_VERSION"),
            "connections": i64::try_from(heartbeat.connections).unwrap_or(i64::MAX),
            "cursor": cursor(heartbeat.progress.applied),
            "unsettled": cursor(heartbeat.progress.unsettled),
            "lost": cursor(heartbeat.progress.lost),
            "intervalMs": millis(info.interval),
            "startedAt": {"$ifNull": ["$startedAt", "$$NOW"]},
            "seenAt": "$$NOW",
            "expiresAt": in_a_day(),
        };
        if heartbeat.stopping {
            set.insert("stoppingAt", doc! {"$ifNull": ["$stoppingAt", "$$NOW"]});
        }
        self.write_node(info, set).await
    }

    /// Writes that a node has stopped in order, with all its sockets closed.
    pub async fn write_node_stopped(&self, info: &NodeInfo) -> Result<(), StoreError> {
        let set = doc! {
            "connections": 0_i64,
            "seenAt": "$$NOW",
            "stoppingAt": {"$ifNull": ["$stoppingAt", "$$NOW"]},
            "stoppedAt": "$$NOW",
            "expiresAt": in_a_day(),
        };
        self.write_node(info, set).await
    }

    async fn write_node(&self, info: &NodeInfo, set: Document) -> Result<(), StoreError> {
        let nodes = self.database().collection::<Document>(NODES);
        let update = nodes
            .update_one(doc! {"_id": &info.id}, vec![doc! {"$set": set}])
            .upsert(true);
        self.with_deadline(update).await?;
        Ok(())
    }

    /// Returns the nodes with a heartbeat within the day; at most [`MOST_NODES`].
    pub async fn nodes(&self) -> Result<Vec<NodeRecord>, StoreError> {
        let nodes = self.database().collection::<RawDocumentBuf>(NODES);
        let most = i64::try_from(MOST_NODES).unwrap_or(i64::MAX);
        let pipeline = [
            doc! {"$match": {"$expr": {"$gt": ["$expiresAt", "$$NOW"]}}},
            doc! {"$sort": {"_id": 1}},
            doc! {"$limit": most},
            doc! {"$set": {"now": "$$NOW"}},
        ];
        let read = nodes.aggregate(pipeline).max_time(self.server_limit());
        let found = self
            .with_deadline(async { collect(read.batch().await?).await })
            .await?;
        Ok(found
            .iter()
            .filter_map(|node| self.read_node(node))
            .collect())
    }

    /// Reads a document. `None` if no node of this deployment has written it.
    fn read_node(&self, document: &RawDocumentBuf) -> Option<NodeRecord> {
        let stored: Stored = bson::deserialize_from_slice(document.as_bytes())
            .inspect_err(|error| self.note_unreadable(NODES, shown_id(document), error))
            .ok()?;
        let stopping = [stored.stopping_at, stored.stopped_at]
            .into_iter()
            .flatten();
        let mut times = [stored.started_at, stored.seen_at]
            .into_iter()
            .chain(stopping);
        if stored.connections < 0 || stored.interval_ms <= 0 || !times.all(is_of_a_clock) {
            self.note_unreadable(NODES, &stored.id, "no node writes such numbers and times");
            return None;
        }
        let position = |text: &Option<String>| match text.as_deref().map(Cursor::parse) {
            None => Some(None),
            Some(Ok(cursor)) if cursor.deployment == self.deployment() => {
                Some(Some(cursor.position))
            }
            Some(_) => None,
        };
        let (now, seen_at) = (
            stored.now.timestamp_millis(),
            stored.seen_at.timestamp_millis(),
        );
        let silent_ms = now.saturating_sub(seen_at);
        let patience_ms = stored.interval_ms.saturating_mul(ALIVE_INTERVALS);
        Some(NodeRecord {
            progress: DeleteProgress {
                applied: position(&stored.cursor)?,
                unsettled: position(&stored.unsettled)?,
                lost: position(&stored.lost)?,
            },
            alive: stored.stopping_at.is_none() && silent_ms <= patience_ms,
            id: stored.id,
            host: stored.host,
            address: stored.address,
            version: stored.version,
            connections: stored.connections,
            interval_ms: stored.interval_ms,
            started_at: stored.started_at,
            seen_at: stored.seen_at,
            stopped_at: stored.stopped_at,
            read_at: stored.now,
        })
    }
}

/// Returns the expiry of a document that is written now, by the server's clock.
pub(super) fn in_a_day() -> Document {
    doc! {"$add": ["$$NOW", millis(TEARDOWN_MEMORY)]}
}

/// Returns the time that lies this far back, by the server's clock.
pub(super) fn ago(elapsed: Duration) -> Bson {
    doc! {"$subtract": ["$$NOW", millis(elapsed)]}.into()
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
