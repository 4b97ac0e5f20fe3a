//! Acknowledged positions of durable subscriptions, in a collection of their own.
//!
//! A document is `{_id: subscription's id, position, since, updatedAt}`. Both points are cursors, which
//! compare as text and name the deployment; `since` is where the subscription began, and tells two
//! subscriptions apart that had the same id one after the other. Every write may come twice, late, and
//! from several nodes: only a beginning makes a document, only a later beginning resets one, an
//! acknowledgement moves it forward and never makes it, and an end removes none that began later.

use std::collections::HashSet;

use bson::{Document, RawDocumentBuf, doc};

use crate::{
    position::{Cursor, DeploymentId, Position},
    store::{POSITIONS, Store, StoreError, client::read::collect},
    subscription::SubscriptionId,
};

/// Statements in one command.
const CHUNK: usize = 1_000;
/// Positions looked at in one go: however many there are, each go has the time of a request.
const SWEPT: u32 = 5_000;
/// The characters of a cursor that depend on the version and the deployment alone.
const PREFIX_CHARS: usize = 11;

/// A durable subscription begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beginning {
    /// Where.
    pub at: Position,
    /// Whether its insert was seen there. Otherwise it was found, and may have begun long ago.
    pub seen: bool,
}

/// All durable subscriptions at one point.
#[derive(Clone, Debug)]
pub struct Whole {
    /// Where.
    pub at: Position,
    /// Which.
    pub ids: HashSet<SubscriptionId>,
}

/// What is to be written, in the order of the fields.
#[derive(Clone, Debug, Default)]
pub struct PositionChanges {
    /// Whatever began before and is not among these has ended.
    pub whole: Option<Whole>,
    /// Ends.
    pub ended: Vec<(SubscriptionId, Position)>,
    /// Beginnings.
    pub begun: Vec<(SubscriptionId, Beginning)>,
    /// Acknowledgements.
    pub acknowledged: Vec<(SubscriptionId, Position)>,
}

impl Store {
    /// The stored position of a durable subscription; `None` where there is none that can be read.
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
            self.note_unreadable(POSITIONS, id, "its position is no cursor");
        }
        Ok(cursor)
    }

    /// How many positions lie before `limit`, and the subscription of one of them.
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

    /// Writes changes. If it fails, any part of it may have happened: it is to be done again.
    pub async fn write_positions(&self, changes: &PositionChanges) -> Result<(), StoreError> {
        if let Some(whole) = &changes.whole {
            self.sweep_positions(whole).await?;
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

    /// Removes the positions of subscriptions that are not there (any more), some at a time.
    async fn sweep_positions(&self, whole: &Whole) -> Result<(), StoreError> {
        let limit = whole.at.cursor(self.deployment());
        let mut after = None;
        loop {
            let found = self.positions_after(after.as_deref()).await?;
            let mut ids = found
                .iter()
                .filter_map(|document| document.get_str("_id").ok());
            let gone = ids.clone().filter(|id| !whole.ids.contains(*id));
            let gone = gone.map(|id| end(id, &limit)).collect();
            self.in_chunks("delete", "deletes", gone).await?;
            match ids.next_back() {
                Some(last) if found.len() == SWEPT as usize => after = Some(last.to_owned()),
                _ => return Ok(()),
            }
        }
    }

    /// The ids of the next positions in order; all of them are text.
    async fn positions_after(
        &self,
        after: Option<&str>,
    ) -> Result<Vec<RawDocumentBuf>, StoreError> {
        let positions = self.database().collection::<RawDocumentBuf>(POSITIONS);
        let behind = after.map_or_else(|| doc! {"$gte": ""}, |after| doc! {"$gt": after});
        let find = positions
            .find(doc! {"_id": behind})
            .sort(doc! {"_id": 1})
            .limit(SWEPT.into())
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
        for chunk in all.chunks(CHUNK) {
            let answer = self
                .run(doc! {
                    command: POSITIONS,
                    statements: chunk.to_vec(),
                    "ordered": false,
                    "writeConcern": {"w": "majority", "j": true, "wtimeout": 9_000},
                })
                .await?;
            if answer.contains_key("writeErrors") || answer.contains_key("writeConcernError") {
                tracing::debug!(%answer, "positions were not all written");
                return Err(StoreError::Unexpected("positions were not all written"));
            }
        }
        Ok(())
    }
}

fn end(id: &str, at: &str) -> Document {
    doc! {"q": {"_id": id, "since": {"$lt": at}}, "limit": 1}
}

/// Makes the document where there is none. One of an earlier subscription of this id, and one of
/// another deployment whose subscription began anew here, is reset.
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

/// Moves the position forward. One of another deployment is replaced: the gap was told.
fn acknowledge(id: &str, at: &str) -> Document {
    let behind = doc! {"$or": [{"$lt": ["$position", at]}, {"$not": [is_ours("$position", at)]}]};
    let set = doc! {"$set": {
        "position": {"$cond": [behind, at, "$position"]},
        "updatedAt": "$$NOW",
    }};
    doc! {"q": {"_id": id}, "u": [set]}
}

/// Whether a field holds a cursor of this deployment. Anything else, of whatever type, is none: text
/// compares as greater or less with every other type, while functions of text would fail on them.
fn is_ours(field: &str, cursor: &str) -> Document {
    let prefix = &cursor[..PREFIX_CHARS];
    let behind = format!("{prefix}~");
    doc! {"$and": [{"$gte": [field, prefix]}, {"$lt": [field, behind]}]}
}
