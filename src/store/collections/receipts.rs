//! The collection `receipts`: the work of each node on a right that has ended and had sockets.
//!
//! `{_id: {subscription, cursor, node}, kind, subscription, tenant, owner, node, cursor, deletedAt, reason, connections,
//! decidedAt, closed, closedAt, expiresAt}`. With `kind: "key"` or `"revocation"`, `credential` stands in the place of
//! `subscription`, and the `_id` has the kind too. A receipt may be written twice, and again when more sockets have closed. A
//! delete without sockets has none.

use std::time::Instant;

use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use serde::Deserialize;

use super::nodes::{ago, in_a_day};
use crate::{
    access::{Holder, Right, RightKind, TENANT},
    position::{Cursor, Position},
    protocol::Ending,
    store::{
        RECEIPTS, Store, StoreError,
        client::read::collect,
        unreadable::{is_of_a_clock, shown_id},
    },
};

/// The most receipts of one right that are read, the latest first.
const MOST_RECEIPTS: i64 = 10_000;

/// The delete of a subscription or a key, or the making of a revocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deletion {
    /// Its position in the feed's order. If the subscription was only found to be gone, the delete happened before.
    pub at: Position,
    /// The commit's wall time on the server; `None` if the delete itself was not seen.
    pub wall_time: Option<DateTime>,
    /// Deleted or expired, if that is known.
    pub ending: Option<Ending>,
}

impl Deletion {
    /// Whether the delete itself was seen. Else only the subscription was found to be gone.
    pub fn was_seen(&self) -> bool {
        self.wall_time.is_some()
    }
}

/// A receipt to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// The right that has ended.
    pub right: Right,
    /// The holder of the right, if that is known.
    pub holder: Option<Holder>,
    /// The delete.
    pub deletion: Deletion,
    /// Connections that were told to end.
    pub connections: usize,
    /// The time of that.
    pub decided: Instant,
    /// The number of these that are gone.
    pub closed: usize,
    /// The time of that count.
    pub counted: Instant,
}

/// A receipt as a node has stored it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredReceipt {
    /// The node.
    pub node: String,
    /// The holder of the right; `None` if the node did not know, or an older version wrote the receipt.
    pub holder: Option<Holder>,
    /// The delete.
    pub deletion: Deletion,
    /// Connections that were told to end.
    pub connections: i64,
    /// The number of these that were gone at `closed_at`.
    pub closed: i64,
    /// The time of that count.
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
    /// Writes receipts of this node. After a failure, any part of them may be written: repeat the call.
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
            tracing::debug!(%answer, "not all receipts were written");
            return Err(StoreError::Unexpected("not all receipts were written"));
        }
        Ok(())
    }

    /// Returns the statement for a receipt. Ids and names may be any text, and must not act as expressions.
    fn receipt_statement(&self, node: &str, receipt: &Receipt) -> Document {
        let literal = |value: Bson| doc! {"$literal": value};
        let text = |text: &Option<Box<str>>| literal(text.as_deref().into());
        let right = &receipt.right;
        let (kind, id, field) = (right.kind.as_str(), &*right.id, field(right.kind));
        let cursor = receipt.deletion.at.cursor(self.deployment());
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let mut set = doc! {
            "kind": kind,
            field: literal(id.into()),
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
        if let Some(holder) = &receipt.holder {
            set.insert("tenant", text(&holder.tenant));
            set.insert("owner", text(&holder.owner));
        }
        let mut key = doc! {field: id, "cursor": &cursor, "node": node};
        if right.kind != RightKind::Subscription {
            key.insert("kind", kind);
        }
        doc! {"q": {"_id": {"$eq": key}}, "u": [{"$set": set}], "upsert": true}
    }

    /// Reads the receipts of a right within the day.
    pub async fn receipts_of(&self, right: &Right) -> Result<Vec<StoredReceipt>, StoreError> {
        let receipts = self.database().collection::<RawDocumentBuf>(RECEIPTS);
        let mut of_it = doc! {
            field(right.kind): {"$eq": &*right.id},
            "$expr": {"$gt": ["$expiresAt", "$$NOW"]},
        };
        if right.kind != RightKind::Subscription {
            of_it.insert("kind", right.kind.as_str());
        }
        let find = receipts
            .find(of_it)
            .sort(doc! {"cursor": -1})
            .limit(MOST_RECEIPTS)
            .max_time(self.server_limit());
        let found = self
            .with_deadline(async { collect(find.batch().await?).await })
            .await?;
        Ok(found.iter().filter_map(|r| self.read_receipt(r)).collect())
    }

    /// Reads a document. `None` if no node of this deployment has written it.
    fn read_receipt(&self, document: &RawDocumentBuf) -> Option<StoredReceipt> {
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
        Some(StoredReceipt {
            node: stored.node,
            holder: matches!(document.get(TENANT), Ok(Some(_))).then(|| Holder::of(document)),
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

/// Returns the field that names a right of this kind. An older version reads what has `subscription`.
const fn field(kind: RightKind) -> &'static str {
    match kind {
        RightKind::Subscription => "subscription",
        RightKind::Key | RightKind::Revocation => "credential",
    }
}
