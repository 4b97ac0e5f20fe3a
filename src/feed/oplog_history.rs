//! Reading the oplog for replays: a change stream from some point on, decoded without effects.

use std::time::Instant;

use bson::DateTime;

use super::{
    decode::{Meaning, OwnCollection, RawChange},
    failure::{self, Remedy},
    pipeline::StreamStart,
    stream::{ChangeStream, Options, Reply, StreamError},
};
use crate::{
    config,
    position::Position,
    protocol::GapReason,
    router::{PastBatch, PastChange, PastChangeKind},
    store::Store,
};

/// Changes in one reply at most.
const BATCH_SIZE: u32 = 2_000;

/// The reason why the oplog cannot be read for a replay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum OplogError {
    /// The oplog does not reach back so far.
    #[error("the history is lost")]
    Lost,
    /// The stream failed, and may be tried again.
    #[error("the stream failed")]
    Failed,
}

/// A reader of the oplog. It does not stop at the present; whoever has what they need drops it.
pub(crate) struct OplogReader {
    stream: ChangeStream,
    position: Position,
}

impl OplogReader {
    /// Opens a reader of everything after `from`, and perhaps a little before.
    ///
    /// The stream starts at the cluster time and not behind a token: the server accepts a token only if its change
    /// passes the pipeline, and a client's cursor does not hold a whole token.
    pub(crate) async fn open(
        store: &Store,
        from: Position,
        settings: &config::Feed,
    ) -> Result<Self, OplogError> {
        let options = Options {
            max_await: settings.max_await,
            batch_size: BATCH_SIZE,
            keys_only: false,
        };
        let start = StreamStart::At(from.cluster_time());
        let stream = ChangeStream::open(store.feed_database(), &start, options)
            .await
            .map_err(|error| explain(&error))?;
        Ok(Self {
            stream,
            position: from,
        })
    }

    /// Returns the next changes; none if nothing has happened for a moment.
    pub(crate) async fn next(&mut self) -> Result<PastBatch, OplogError> {
        let reply = self.stream.next().await.map_err(|error| explain(&error))?;
        let batch = decode(reply, self.position).map_err(|error| explain(&error))?;
        self.position = batch.position;
        Ok(batch)
    }
}

pub(super) fn explain(error: &StreamError) -> OplogError {
    tracing::debug!(%error, "the oplog cannot be read for replays");
    match error {
        StreamError::Driver(error) if failure::remedy(error) != Remedy::Reopen => OplogError::Lost,
        _ => OplogError::Failed,
    }
}

fn decode(reply: Reply, before: Position) -> Result<PastBatch, StreamError> {
    let mut changes = Vec::new();
    let mut position = before;
    for change in reply.changes()? {
        let Ok(raw) = RawChange::decode(change) else {
            // Its position lies between those that can be read, so that nobody is replayed past it without being
            // told.
            position = position.next();
            let missed = PastChangeKind::Missed(GapReason::UndecodableChange);
            changes.push(PastChange::new(position, DateTime::now(), missed));
            continue;
        };
        position = position.max(raw.position);
        if let Some(kind) = past_kind(&raw.meaning(&reply.document)) {
            changes.push(PastChange::new(raw.position, raw.wall_time, kind));
        }
    }
    if let Some((_, after)) = reply.token() {
        position = position.max(after);
    }
    Ok(PastBatch::new(
        reply.document,
        changes,
        position,
        Instant::now(),
    ))
}

/// Returns the record of a change that replays need, if they need one.
fn past_kind(meaning: &Meaning<'_>) -> Option<PastChangeKind> {
    match meaning {
        Meaning::Operation(operation) => Some(PastChangeKind::Operation(*operation)),
        Meaning::SubscriptionStored {
            document: Some(document),
            ..
        } => Some(PastChangeKind::SubscriptionStored((*document).to_owned())),
        Meaning::SubscriptionStored { key, .. } => {
            key.map(|key| PastChangeKind::SubscriptionUnknown(key.to_owned()))
        }
        Meaning::SubscriptionDeleted(key) => {
            Some(PastChangeKind::SubscriptionDeleted((*key).to_owned()))
        }
        Meaning::CollectionGone(OwnCollection::Subscriptions, _)
        | Meaning::CollectionReplaced {
            replaced:
                OwnCollection::Events | OwnCollection::Positions | OwnCollection::Credentials(_),
            gone: Some(OwnCollection::Subscriptions),
        } => Some(PastChangeKind::AllSubscriptionsDeleted),
        Meaning::CollectionReplaced {
            replaced: OwnCollection::Subscriptions,
            ..
        } => Some(PastChangeKind::AllSubscriptionsReplaced),
        Meaning::Nothing
        // The past is judged by the credentials of now.
        | Meaning::CredentialStored { .. }
        | Meaning::CredentialDeleted(..)
        | Meaning::CollectionGone(..)
        | Meaning::CollectionReplaced { .. }
        | Meaning::Invalidated
        | Meaning::Odd(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Document, RawDocumentBuf, doc};

    fn insert(at: u32) -> Document {
        let token = format!("82{at:08X}000000012B022C0100296E5A1004");
        doc! {
            "_id": {"_data": token},
            "operationType": "insert",
            "ns": {"db": "d", "coll": "events"},
            "fullDocument": {"_id": 1},
        }
    }

    #[test]
    fn a_change_that_cannot_be_decoded_is_a_gap_in_its_place() {
        let changes = vec![insert(5), doc! {"_id": 5}, doc! {}, insert(6)];
        let reply = doc! {"cursor": {"nextBatch": changes}};
        let document = RawDocumentBuf::try_from(&reply).unwrap();
        let batch = decode(Reply { document }, Position::START).unwrap();
        let missed = |change: &PastChange| matches!(change.kind, PastChangeKind::Missed(_));
        let kinds: Vec<bool> = batch.changes.iter().map(missed).collect();
        assert_eq!(kinds, [false, true, true, false]);
        let positions: Vec<Position> = batch.changes.iter().map(|c| c.position).collect();
        assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");
    }
}
