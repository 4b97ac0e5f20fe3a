//! The deletes of subscriptions and keys that the oplog still shows: their `_id`s alone.

use bson::{RawDocument, Timestamp};

use super::{
    OplogError,
    decode::{OwnCollection, RawChange},
    oplog_history::explain,
    stream::{ChangeStream, Options},
};
use crate::{
    access::{CredentialKind, Right, RightKind},
    config,
    position::Position,
    store::{Deletion, Store, TEARDOWN_MEMORY},
    subscription::DocumentKey,
};

/// Deletes in one reply at most.
const BATCH_SIZE: u32 = 2_000;

/// A reader of the deletes of the day before some position.
pub(crate) struct DeleteReader {
    stream: ChangeStream,
    from: Position,
    until: Position,
    reached: Position,
}

impl DeleteReader {
    /// Opens a reader of the deletes before `until`, back to the day before, or to the begin of the oplog.
    pub(crate) async fn open(
        store: &Store,
        settings: &config::Feed,
        until: Position,
    ) -> Result<Self, OplogError> {
        let from = start(store, until).await?;
        let options = Options {
            max_await: settings.max_await,
            batch_size: BATCH_SIZE,
            keys_only: true,
        };
        let stream = ChangeStream::open_of_deletes(store.feed_database(), from, options)
            .await
            .map_err(|error| explain(&error))?;
        let from = Position::at(from);
        Ok(Self {
            stream,
            from,
            until,
            reached: from,
        })
    }

    /// Returns the position behind which the reader shows every delete.
    pub(crate) fn from(&self) -> Position {
        self.from
    }

    /// Returns the next deletes, perhaps none; `None` when all are read.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<(Right, Deletion)>>, OplogError> {
        if self.reached >= self.until {
            return Ok(None);
        }
        let reply = self.stream.next().await.map_err(|error| explain(&error))?;
        let mut deletes = Vec::new();
        for change in reply.changes().map_err(|error| explain(&error))? {
            deletes.extend(self.decode(change)?);
        }
        if let Some((_, after)) = reply.token() {
            self.reached = self.reached.max(after);
        }
        Ok(Some(deletes))
    }

    fn decode(&mut self, change: &RawDocument) -> Result<Option<(Right, Deletion)>, OplogError> {
        let raw = RawChange::decode(change).map_err(|_| OplogError::Failed)?;
        self.reached = self.reached.max(raw.position);
        if raw.position >= self.until {
            return Ok(None);
        }
        if raw.operation != "delete" {
            // The database was dropped, and with it subscriptions of which nothing tells.
            return Err(OplogError::Lost);
        }
        let key = raw.document_key.map(DocumentKey::of);
        let kind = match raw.collection {
            Some(OwnCollection::Subscriptions) => RightKind::Subscription,
            Some(OwnCollection::Credentials(CredentialKind::Key)) => RightKind::Key,
            Some(OwnCollection::Credentials(CredentialKind::Revocation)) => RightKind::Revocation,
            _ => return Ok(None),
        };
        let id = key.as_ref().and_then(DocumentKey::id);
        Ok(id.map(|id| {
            let deletion = Deletion {
                at: raw.position,
                // That a revocation is gone does not tell when it was made, only that it was.
                wall_time: (kind != RightKind::Revocation).then_some(raw.wall_time),
                ending: None,
            };
            (Right::of(kind, &id), deletion)
        }))
    }
}

/// Returns the time a day before `until`, or the begin of the oplog if that is later.
async fn start(store: &Store, until: Position) -> Result<Timestamp, OplogError> {
    let oldest = store.oplog_begin().await.map_err(|error| {
        tracing::debug!(%error, "cannot measure the oplog's window now");
        OplogError::Failed
    })?;
    let day = u32::try_from(TEARDOWN_MEMORY.as_secs()).unwrap_or(u32::MAX);
    let a_day_ago = Timestamp {
        time: until.cluster_time().time.saturating_sub(day),
        increment: 0,
    };
    Ok(oldest.map_or(a_day_ago, |oldest| oldest.max(a_day_ago)))
}
