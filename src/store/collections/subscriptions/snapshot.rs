//! All subscriptions as they were at one point in time.

use std::time::Duration;

use bson::{RawBsonRef, RawDocument, Timestamp, doc};
use futures_util::TryStreamExt as _;
use mongodb::{options::ReadConcern, raw_batch_cursor::RawBatch};
use tokio::sync::mpsc;

use crate::store::{Store, StoreError};

/// A failed snapshot is tried again at a newer time this often before the caller hears of it.
const ATTEMPTS: u32 = 5;
/// A pause before trying again, so that the majority's point can move on (error 246).
const PAUSE: Duration = Duration::from_millis(50);

/// Documents in one reply: enough that asking costs little, few enough that whoever takes them is
/// busy while the next are read.
const BATCH_SIZE: u32 = 10_000;

/// Some of the documents of a snapshot, as the server sent them.
#[derive(Debug)]
pub struct Documents(RawBatch);

impl Documents {
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
    /// Reads all subscriptions at one point in time and sends them to where `start` says, in no
    /// particular order. Returns the cluster time: the documents are all those of it, and changes after
    /// it are not in them.
    ///
    /// `start` is called again where the server lost the point in time half way (errors 239 and
    /// 246): what was sent before is void. A collection that does not exist is empty.
    pub async fn load_subscriptions(
        &self,
        mut start: impl FnMut() -> mpsc::Sender<Documents>,
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

    async fn read_snapshot(&self, to: mpsc::Sender<Documents>) -> Result<Timestamp, StoreError> {
        // The time is asked for rather than taken from the answer: that has none where the collection
        // is missing, and what is not there at this time is known not to be.
        let time = self.ping().await?;
        let session = self.client().start_session().snapshot(true);
        let mut session = self.with_deadline(session.snapshot_time(time)).await?;
        let subscriptions = self.subscriptions();
        // The client's own concern (majority) would keep the session's from being sent.
        let find = subscriptions
            .find(doc! {})
            .batch_size(BATCH_SIZE)
            .read_concern(ReadConcern::snapshot())
            .session(&mut session);
        let mut cursor = self.with_deadline(find.batch()).await?;
        let mut batches = cursor.stream(&mut session);
        while let Some(batch) = self.with_deadline(batches.try_next()).await? {
            let sent = to.send(Documents(batch)).await;
            sent.map_err(|_| StoreError::Unexpected("nobody takes the subscriptions"))?;
        }
        Ok(time)
    }
}
