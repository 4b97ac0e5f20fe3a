//! A snapshot of all subscriptions at one point in time.

use std::time::Duration;

use bson::{RawBsonRef, RawDocument, Timestamp, doc};
use futures_util::TryStreamExt as _;
use mongodb::{options::ReadConcern, raw_batch_cursor::RawBatch};
use tokio::sync::mpsc;

use crate::store::{Store, StoreError};

/// Attempts at a snapshot, each at a newer time, before the caller gets the error.
const ATTEMPTS: u32 = 5;
/// Pause before another attempt, so that the majority's point can move on (error 246).
const PAUSE: Duration = Duration::from_millis(50);

/// Documents in one reply: enough that requests cost little, few enough that the receiver works while the next
/// ones are read.
const BATCH_DOCUMENTS: u32 = 10_000;

/// A batch of documents of a snapshot, as the server sent them.
#[derive(Debug)]
pub struct SubscriptionBatch(RawBatch);

impl SubscriptionBatch {
    /// Shows each of them to `visit`.
    pub fn each(&self, mut visit: impl FnMut(&RawDocument)) -> Result<(), StoreError> {
        for item in self.0.doc_slices()? {
            if let RawBsonRef::Document(document) = item.map_err(mongodb::error::Error::from)? {
                visit(document);
            }
        }
        Ok(())
    }
}

impl Store {
    /// Reads all subscriptions at one point in time and sends them, in no particular order, to the channel that
    /// `start` returns. Returns the cluster time of the snapshot: later changes are not in it.
    ///
    /// Calls `start` again if the server lost the point in time half way (errors 239 and 246). Then the
    /// batches sent before are void. A collection that does not exist is empty.
    pub async fn load_subscriptions(
        &self,
        mut start: impl FnMut() -> mpsc::Sender<SubscriptionBatch>,
    ) -> Result<Timestamp, StoreError> {
        let mut attempt = 1;
        loop {
            match self.read_snapshot(start()).await {
                Err(error) if error.is_snapshot_lost() && attempt < ATTEMPTS => {
                    tracing::info!(attempt, %error, "reading the subscriptions again at a newer time");
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    async fn read_snapshot(
        &self,
        to: mpsc::Sender<SubscriptionBatch>,
    ) -> Result<Timestamp, StoreError> {
        // Ask for the time, rather than taking it from the answer: that has none if the collection is
        // missing. A collection that is missing now had nothing at this time.
        let time = self.ping().await?;
        let session = self.client().start_session().snapshot(true);
        let mut session = self.with_deadline(session.snapshot_time(time)).await?;
        let subscriptions = self.subscriptions();
        // The client's own concern (majority) would override the session's.
        let find = subscriptions
            .find(doc! {})
            .batch_size(BATCH_DOCUMENTS)
            .read_concern(ReadConcern::snapshot())
            .session(&mut session);
        let mut cursor = self.with_deadline(find.batch()).await?;
        let mut batches = cursor.stream(&mut session);
        while let Some(batch) = self.with_deadline(batches.try_next()).await? {
            let sent = to.send(SubscriptionBatch(batch)).await;
            sent.map_err(|_| StoreError::Unexpected("nobody receives the subscriptions"))?;
        }
        Ok(time)
    }
}
