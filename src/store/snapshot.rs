//! All subscriptions as they were at one point in time.

use std::time::Duration;

use bson::{RawBsonRef, RawDocument, Timestamp, doc};
use futures_util::TryStreamExt as _;
use mongodb::{options::ReadConcern, raw_batch_cursor::RawBatch};

use super::{Store, StoreError};

/// A failed snapshot is tried again at a newer time this often before the caller hears of it.
const ATTEMPTS: u32 = 5;
/// A pause before trying again, so that the majority's point can move on (error 246).
const PAUSE: Duration = Duration::from_millis(50);

/// What was read, and when.
#[derive(Clone, Debug)]
pub struct Snapshot<C> {
    /// The documents are all those of this cluster time. Changes after it are not in them.
    pub time: Timestamp,
    /// What the caller made of them.
    pub contents: C,
}

impl Store {
    /// Reads all subscriptions at one point in time, and hands each to `add`.
    ///
    /// `start` makes an empty container. It is called again where the server lost the point in time
    /// half way (errors 239 and 246): what was gathered until then is thrown away. Documents go by in no
    /// particular order, and are not copied on the way. A collection that does not exist is empty.
    pub async fn load_subscriptions<C>(
        &self,
        mut start: impl FnMut() -> C,
        mut add: impl FnMut(&mut C, &RawDocument),
    ) -> Result<Snapshot<C>, StoreError> {
        let mut attempt = 1;
        loop {
            match self.read_snapshot(start(), &mut add).await {
                Err(error) if error.is_snapshot_lost() && attempt < ATTEMPTS => {
                    tracing::info!(attempt, %error, "reading the subscriptions again at a newer time");
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    async fn read_snapshot<C>(
        &self,
        mut contents: C,
        add: &mut impl FnMut(&mut C, &RawDocument),
    ) -> Result<Snapshot<C>, StoreError> {
        // The time is asked for rather than taken from the answer: that has none where the collection
        // is missing, and what is not there at this time is known not to be.
        let time = self.ping().await?;
        let session = self.client().start_session().snapshot(true);
        let mut session = self.bounded(session.snapshot_time(time)).await?;
        let subscriptions = self.subscriptions();
        // The client's own concern (majority) would keep the session's from being sent.
        let find = subscriptions
            .find(doc! {})
            .read_concern(ReadConcern::snapshot())
            .session(&mut session);
        let mut cursor = self.bounded(find.batch()).await?;
        let mut batches = cursor.stream(&mut session);
        while let Some(batch) = self.bounded(batches.try_next()).await? {
            each(&batch, |document| add(&mut contents, document))?;
        }
        drop(batches);
        Ok(Snapshot { time, contents })
    }
}

fn each(batch: &RawBatch, mut visit: impl FnMut(&RawDocument)) -> Result<(), StoreError> {
    for item in batch.doc_slices()? {
        if let RawBsonRef::Document(document) = item.map_err(mongodb::error::Error::from)? {
            visit(document);
        }
    }
    Ok(())
}
