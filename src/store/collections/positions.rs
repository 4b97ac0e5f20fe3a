//! The collection `positions`: acknowledged positions of durable subscriptions.
//!
//! A document is `{_id: subscription's id, position, since, updatedAt}`. `position` and `since` are cursors,
//! which compare as text and name the deployment. `since` is where the subscription began. It tells apart
//! two subscriptions that had the same id one after the other. Every write may come twice, late, and from
//! several nodes. So only a beginning creates a document, and only a later beginning resets one. An
//! acknowledgement moves a document forward and never creates it. An end removes none that began later.

use std::collections::HashSet;

use bson::{Document, RawDocumentBuf, doc};

use crate::{
    position::{Cursor, DeploymentId, Position},
    store::{POSITIONS, Store, StoreError, client::read::collect},
    subscription::SubscriptionId,
};

/// Statements in one command.
const CHUNK_STATEMENTS: usize = 1_000;
/// Positions read in one go. However many there are, each go has the time of a request.
const SWEPT_POSITIONS: u32 = 5_000;
/// Characters of a cursor that depend on the version and the deployment alone.
const PREFIX_CHARS: usize = 11;

/// The beginning of a durable subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beginning {
    /// The position of the beginning.
    pub at: Position,
    /// True if its insert was seen at that position. Else the subscription was found by a load, and may have begun long before.
    pub seen: bool,
}

/// All durable subscriptions at one position.
#[derive(Clone, Debug)]
pub struct DurableSnapshot {
    /// The position.
    pub at: Position,
    /// Their ids.
    pub ids: HashSet<SubscriptionId>,
}

/// Changes to write, in the order of the fields.
#[derive(Clone, Debug, Default)]
pub struct PositionChanges {
    /// A snapshot: a subscription that began before it and is not in it has ended.
    pub snapshot: Option<DurableSnapshot>,
    /// Ends.
    pub ended: Vec<(SubscriptionId, Position)>,
    /// Beginnings.
    pub begun: Vec<(SubscriptionId, Beginning)>,
    /// Acknowledgements.
    pub acknowledged: Vec<(SubscriptionId, Position)>,
}

impl Store {
    /// Reads the position of a durable subscription. `None` if there is none that can be read.
    pub async fn find_position(&self, id: &str) -> Result<Option<Cursor>, StoreError> {
        let positions = self.database().collection::<RawDocumentBuf>(POSITIONS);
        let find = positions
            .find_one(doc! {"_id": id})
            .max_time(self.server_limit());
        let Some(found) = self.with_deadline(find).await? else {
            return Ok(None);
        };
        let text = found.get_str("position").ok();
        let cursor = text.and_then(|text| Cursor::parse(text).ok());
        if cursor.is_none() {
            self.note_unreadable(POSITIONS, id, "its position is not a cursor");
        }
        Ok(cursor)
    }

    /// Counts the positions before `limit`. Returns the number, and the subscription of one of them.
    pub async fn positions_before(
        &self,
        limit: Position,
    ) -> Result<(u64, Option<String>), StoreError> {
        let positions = self.database().collection::<Document>(POSITIONS);
        let (deployment, time) = (self.deployment(), self.server_limit());
        let lowest = Position::START.cursor(deployment);
        let before = doc! {"position": {"$gte": lowest, "$lt": limit.cursor(deployment)}};
        let count = positions.count_documents(before.clone()).max_time(time);
        let count = self.with_deadline(count).await?;
        if count == 0 {
            return Ok((0, None));
        }
        let find = positions
            .find_one(before)
            .sort(doc! {"position": 1})
            .max_time(time);
        let first = self.with_deadline(find).await?;
        let id = first.and_then(|first| first.get_str("_id").map(ToOwned::to_owned).ok());
        Ok((count, id))
    }

    /// Writes changes. After a failure, any part of them may be written: repeat the call.
    pub async fn write_positions(&self, changes: &PositionChanges) -> Result<(), StoreError> {
        if let Some(snapshot) = &changes.snapshot {
            self.sweep_positions(snapshot).await?;
        }
        let deployment = self.deployment();
        let ended = changes
            .ended
            .iter()
            .map(|(id, at)| end(id.as_str(), &at.cursor(deployment)))
            .collect();
        self.in_chunks("delete", "deletes", ended).await?;
        let begun = changes
            .begun
            .iter()
            .map(|(id, beginning)| begin(id.as_str(), *beginning, deployment))
            .collect();
        self.in_chunks("update", "updates", begun).await?;
        let acknowledged = changes
            .acknowledged
            .iter()
            .map(|(id, at)| acknowledge(id.as_str(), &at.cursor(deployment)))
            .collect();
        self.in_chunks("update", "updates", acknowledged).await
    }

    /// Removes the positions of subscriptions that no longer exist, some at a time.
    async fn sweep_positions(&self, snapshot: &DurableSnapshot) -> Result<(), StoreError> {
        let limit = snapshot.at.cursor(self.deployment());
        let mut after = None;
        loop {
            let found = self.positions_after(after.as_deref()).await?;
            let mut ids = found
                .iter()
                .filter_map(|document| document.get_str("_id").ok());
            let gone = ids.clone().filter(|id| !snapshot.ids.contains(*id));
            let gone = gone.map(|id| end(id, &limit)).collect();
            self.in_chunks("delete", "deletes", gone).await?;
            match ids.next_back() {
                Some(last) if found.len() == SWEPT_POSITIONS as usize => {
                    after = Some(last.to_owned());
                }
                _ => return Ok(()),
            }
        }
    }

    /// Reads the ids of the next positions in order. All of them are text.
    async fn positions_after(
        &self,
        after: Option<&str>,
    ) -> Result<Vec<RawDocumentBuf>, StoreError> {
        let positions = self.database().collection::<RawDocumentBuf>(POSITIONS);
        let behind = after.map_or_else(|| doc! {"$gte": ""}, |after| doc! {"$gt": after});
        let find = positions
            .find(doc! {"_id": behind})
            .sort(doc! {"_id": 1})
            .limit(SWEPT_POSITIONS.into())
            .projection(doc! {"_id": 1})
            .max_time(self.server_limit());
        self.with_deadline(async { collect(find.batch().await?).await })
            .await
    }

    async fn in_chunks(
        &self,
        command: &str,
        statements: &str,
        all: Vec<Document>,
    ) -> Result<(), StoreError> {
        for chunk in all.chunks(CHUNK_STATEMENTS) {
            let answer = self
                .run(doc! {
                    command: POSITIONS,
                    statements: chunk.to_vec(),
                    "ordered": false,
                    "writeConcern": {"w": "majority", "j": true, "wtimeout": 9_000},
                })
                .await?;
            if answer.contains_key("writeErrors") || answer.contains_key("writeConcernError") {
                tracing::debug!(%answer, "not all positions were written");
                return Err(StoreError::Unexpected("not all positions were written"));
            }
        }
        Ok(())
    }
}

fn end(id: &str, at: &str) -> Document {
    doc! {"q": {"_id": id, "since": {"$lt": at}}, "limit": 1}
}

/// Returns the statement that creates the document if there is none. It resets a document of an earlier
/// subscription with this id, and one of another deployment whose subscription began anew here.
fn begin(id: &str, beginning: Beginning, deployment: DeploymentId) -> Document {
    let at = beginning.at.cursor(deployment);
    let ours = is_ours("$since", &at);
    let reset = if beginning.seen {
        doc! {"$or": [{"$not": [&ours]}, {"$lt": ["$since", &at]}]}
    } else {
        doc! {"$ne": [{"$type": "$since"}, "string"]}
    };
    let keep_since = doc! {"$and": [{"$not": [&reset]}, ours]};
    let set = doc! {"$set": {
        "since": {"$cond": [keep_since, "$since", &at]},
        "position": {"$cond": [reset, &at, "$position"]},
        "updatedAt": "$$NOW",
    }};
    doc! {"q": {"_id": id}, "u": [set], "upsert": true}
}

/// Returns the statement that moves the position forward. It replaces one of another deployment: the client got
/// a gap for that.
fn acknowledge(id: &str, at: &str) -> Document {
    let behind = doc! {"$or": [{"$lt": ["$position", at]}, {"$not": [is_ours("$position", at)]}]};
    let set = doc! {"$set": {
        "position": {"$cond": [behind, at, "$position"]},
        "updatedAt": "$$NOW",
    }};
    doc! {"q": {"_id": id}, "u": [set]}
}

/// Returns the expression that tells if a field holds a cursor of this deployment. It compares, because text
/// is greater or less than every other type, while functions of text would fail on those.
fn is_ours(field: &str, cursor: &str) -> Document {
    let prefix = &cursor[..PREFIX_CHARS];
    let behind = format!("{prefix}~");
    doc! {"$and": [{"$gte": [field, prefix]}, {"$lt": [field, behind]}]}
}
