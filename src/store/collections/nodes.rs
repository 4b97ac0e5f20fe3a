//! Nodes: one document each, which says that it is alive and how far it is.
//!
//! `{_id, host, address, version, connections, cursor, unsettled, lost, intervalMs, startedAt, seenAt, expiresAt}`,
//! and `stoppingAt` and `stoppedAt` at the end. All times are the server's, so that nobody's clock matters. A document
//! stays for a day after the node was last heard of: as long as the receipts of teardowns are kept.

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

/// How long a node, and what it did about deletes, is remembered: the span of "within the day".
pub const TEARDOWN_MEMORY: Duration = Duration::from_hours(24);
/// A node is alive while it was heard of within so many of its own heartbeat's intervals.
pub const ALIVE_INTERVALS: i64 = 5;
/// Nodes that are read at most. Each start of a process is one, for a day.
pub const MOST_NODES: usize = 10_000;

/// What a node says of itself once and for all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeInfo {
    /// Its id: new at every start.
    pub id: String,
    /// The machine's name.
    pub host: String,
    /// The address that it listens on.
    pub address: String,
    /// How often it is heard of.
    pub interval: Duration,
}

impl NodeInfo {
    /// A info with a new id.
    pub fn new(address: String, interval: Duration) -> Self {
        Self {
            id: format!("node_{}", uuid::Uuid::now_v7().simple()),
            host: gethostname::gethostname().to_string_lossy().into_owned(),
            address,
            interval,
        }
    }
}

/// Up to where a node has done what deletes ask of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeleteProgress {
    /// Everything up to here is applied; `None` before the first load.
    pub applied: Option<Position>,
    /// The first delete whose receipt is not written yet, if there is one.
    pub unsettled: Option<Position>,
    /// The last delete whose receipt was given up, if there is one.
    pub lost: Option<Position>,
}

impl DeleteProgress {
    /// Whether a delete at `at` is applied, and whatever had to be written about it is written.
    pub fn covers(&self, at: Position) -> bool {
        self.applied.is_some_and(|applied| at <= applied)
            && self.unsettled.is_none_or(|unsettled| at < unsettled)
            && self.lost.is_none_or(|lost| lost < at)
    }
}

/// One sign of life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// How far the node is.
    pub progress: DeleteProgress,
    /// Its open connections.
    pub connections: u64,
    /// Whether it is about to stop.
    pub stopping: bool,
}

/// A node, as it was heard of last.
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
    /// How far it was.
    pub progress: DeleteProgress,
    /// Milliseconds between two signs of life.
    pub interval_ms: i64,
    /// When it was first heard of.
    pub started_at: DateTime,
    /// When it was last heard of.
    pub seen_at: DateTime,
    /// When it had stopped in order, all its sockets closed.
    pub stopped_at: Option<DateTime>,
    /// Whether it was heard of lately, and has not said that it stops.
    pub alive: bool,
    /// When this was read.
    pub read_at: DateTime,
}

/// The stored form, and the server's time when it was read.
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
    /// Writes a sign of life.
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

    /// Writes that a node has stopped in order: no socket of it is left.
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

    /// Every node that was heard of within the day; at most [`MOST_NODES`].
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
        Ok(found.iter().filter_map(|node| self.seen(node)).collect())
    }

    /// `None` for what no node of this deployment has written.
    fn seen(&self, document: &RawDocumentBuf) -> Option<NodeRecord> {
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

/// When something that is written now is forgotten, by the server's clock.
pub(super) fn in_a_day() -> Document {
    doc! {"$add": ["$$NOW", millis(TEARDOWN_MEMORY)]}
}

/// A moment that lies so far back, by the server's clock.
pub(super) fn ago(elapsed: Duration) -> Bson {
    doc! {"$subtract": ["$$NOW", millis(elapsed)]}.into()
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
