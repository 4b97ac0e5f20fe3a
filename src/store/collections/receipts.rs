//! Receipts: what a node did about the delete of a subscription that had sockets on it.
//!
//! `{_id: {subscription, cursor, node}, subscription, node, cursor, seen, deletedAt, reason, connections, decidedAt,
//! closed, closedAt, expiresAt}`. A receipt may be written twice, and again when more sockets have closed. A delete without
//! sockets has none.

use std::time::Instant;

use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use serde::Deserialize;

use super::nodes::{ago, in_a_day};
use crate::{
    position::{Cursor, Position},
    protocol::Ending,
    store::{
        RECEIPTS, Store, StoreError,
        client::read::collect,
        unreadable::{is_of_a_clock, shown_id},
    },
    subscription::SubscriptionId,
};

/// Receipts of one subscription that are read at most, the latest first.
const MOST_RECEIPTS: i64 = 10_000;

/// That a subscription was deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deletion {
    /// Where in the feed's order. One that was only found to be gone happened before this.
    pub at: Position,
    /// The commit's wall time on the server; `None` where the delete itself was not seen.
    pub wall_time: Option<DateTime>,
    /// Deleted or expired, where that is known.
    pub ending: Option<Ending>,
}

impl Deletion {
    /// Whether the delete itself was seen, not only that the subscription is gone.
    pub fn was_seen(&self) -> bool {
        self.wall_time.is_some()
    }
}

/// A receipt to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Whose.
    pub subscription: SubscriptionId,
    /// Of which delete.
    pub deletion: Deletion,
    /// Connections that were told to end.
    pub connections: usize,
    /// When.
    pub decided: Instant,
    /// How many of them are gone.
    pub closed: usize,
    /// When that was counted.
    pub counted: Instant,
}

/// A receipt that a node has written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReceiptRead {
    /// The node.
    pub node: String,
    /// Of which delete.
    pub deletion: Deletion,
    /// Connections that were told to end.
    pub connections: i64,
    /// How many of them were gone at `closed_at`.
    pub closed: i64,
    /// When that was counted.
    pub closed_at: DateTime,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    node: String,
    cursor: String,
    deleted_at: Option<DateTime>,
    reason: String,
    connections: i64,
    closed: i64,
    closed_at: DateTime,
}

impl Store {
    /// Writes receipts of this node. If it fails, any part of it may have happened: it is to be done again.
    pub async fn write_receipts(&self, node: &str, receipts: &[Receipt]) -> Result<(), StoreError> {
        let statement = |receipt: &Receipt| self.receipt_statement(node, receipt);
        let updates: Vec<Document> = receipts.iter().map(statement).collect();
        let answer = self
            .run(doc! {
                "update": RECEIPTS,
                "updates": updates,
                "ordered": false,
                "writeConcern": {"w": "majority", "j": true, "wtimeout": 9_000},
            })
            .await?;
        if answer.contains_key("writeErrors") || answer.contains_key("writeConcernError") {
            tracing::debug!(%answer, "receipts were not all written");
            return Err(StoreError::Unexpected("receipts were not all written"));
        }
        Ok(())
    }

    /// Ids and names are anybody's text: none of it may be taken for an expression.
    fn receipt_statement(&self, node: &str, receipt: &Receipt) -> Document {
        let literal = |value: Bson| doc! {"$literal": value};
        let id = receipt.subscription.as_str();
        let cursor = receipt.deletion.at.cursor(self.deployment());
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let set = doc! {
            "subscription": literal(id.into()),
            "node": node,
            "cursor": &cursor,
            "deletedAt": receipt.deletion.wall_time,
            "reason": receipt.deletion.ending.map(Ending::token),
            "connections": count(receipt.connections),
            "decidedAt": {"$ifNull": ["$decidedAt", ago(receipt.decided.elapsed())]},
            "closed": count(receipt.closed),
            "closedAt": ago(receipt.counted.elapsed()),
            "expiresAt": in_a_day(),
        };
        let key = doc! {"subscription": id, "cursor": &cursor, "node": node};
        doc! {"q": {"_id": {"$eq": key}}, "u": [{"$set": set}], "upsert": true}
    }

    /// All receipts of a subscription within the day.
    pub async fn receipts_of(&self, subscription: &str) -> Result<Vec<ReceiptRead>, StoreError> {
        let receipts = self.database().collection::<RawDocumentBuf>(RECEIPTS);
        let of_it = doc! {
            "subscription": {"$eq": subscription},
            "$expr": {"$gt": ["$expiresAt", "$$NOW"]},
        };
        let find = receipts
            .find(of_it)
            .sort(doc! {"cursor": -1})
            .limit(MOST_RECEIPTS)
            .max_time(self.server_limit());
        let found = self
            .with_deadline(async { collect(find.batch().await?).await })
            .await?;
        Ok(found.iter().filter_map(|r| self.receipt(r)).collect())
    }

    /// `None` for what no node of this deployment has written.
    fn receipt(&self, document: &RawDocumentBuf) -> Option<ReceiptRead> {
        let stored: Stored = bson::deserialize_from_slice(document.as_bytes())
            .inspect_err(|error| self.note_unreadable(RECEIPTS, shown_id(document), error))
            .ok()?;
        let times = [Some(stored.closed_at), stored.deleted_at];
        let counts = 0 <= stored.closed && stored.closed <= stored.connections;
        if !counts || !times.into_iter().flatten().all(is_of_a_clock) {
            self.note_unreadable(
                RECEIPTS,
                shown_id(document),
                "no node writes such numbers and times",
            );
            return None;
        }
        let cursor = Cursor::parse(&stored.cursor).ok();
        let at = cursor.filter(|cursor| cursor.deployment == self.deployment())?;
        let endings = [Ending::Deleted, Ending::Expired];
        Some(ReceiptRead {
            node: stored.node,
            deletion: Deletion {
                at: at.position,
                wall_time: stored.deleted_at,
                ending: endings.into_iter().find(|e| e.token() == stored.reason),
            },
            connections: stored.connections,
            closed: stored.closed,
            closed_at: stored.closed_at,
        })
    }
}
