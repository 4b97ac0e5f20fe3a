//! Bare change streams of the driver, the reference for everything.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use mongodb::{
    Database,
    bson::{Document, RawDocument, Timestamp, doc},
    raw_batch_cursor::RawBatchCursor,
};

use super::numbers::now_micros;

/// Opens a raw change stream over the events of a database, from a time on or from now.
pub(crate) async fn raw(database: &Database, from: Option<Timestamp>) -> Result<RawBatchCursor> {
    raw_of(database, "events", from).await
}

/// Opens a raw change stream over a collection.
pub(crate) async fn raw_of(
    database: &Database,
    collection: &str,
    from: Option<Timestamp>,
) -> Result<RawBatchCursor> {
    let mut stage = doc! {};
    if let Some(from) = from {
        stage.insert("startAtOperationTime", from);
    }
    let collection = database.collection::<Document>(collection);
    let pipeline = [doc! {"$changeStream": stage}];
    Ok(collection
        .aggregate(pipeline)
        .batch_size(1_000)
        .batch()
        .await?)
}

/// Reads until this many changes have come.
pub(crate) async fn drain(mut stream: RawBatchCursor, mut changes: u64) -> Result<()> {
    while changes > 0 {
        let batch = stream.try_next().await?.context("the stream ended")?;
        let reply = batch.as_raw_document();
        changes = changes.saturating_sub(length(reply)?);
    }
    Ok(())
}

fn length(reply: &RawDocument) -> Result<u64> {
    let cursor = reply.get_document("cursor")?;
    let batch = cursor
        .get_array("nextBatch")
        .or_else(|_| cursor.get_array("firstBatch"))?;
    Ok(batch.into_iter().count() as u64)
}

/// Notes for ever how late each event came after its publishing.
pub(crate) async fn note(mut stream: RawBatchCursor, samples: Arc<Mutex<Vec<i64>>>) -> Result<()> {
    while let Some(batch) = stream.try_next().await? {
        let now = now_micros();
        for change in batch.doc_slices()? {
            let change = change?.as_document().context("a change")?;
            let event = change.get_document("fullDocument")?;
            let sent = event.get_document("data")?.get_i64("sent")?;
            let mut samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
            samples.push(now - sent);
        }
    }
    Ok(())
}

/// Reads for ever, so that the stream is open.
pub(crate) async fn read_on(mut stream: RawBatchCursor) -> Result<()> {
    while let Some(batch) = stream.try_next().await? {
        std::hint::black_box(batch);
    }
    Ok(())
}

/// Returns the server's time: the operation time of an answer.
pub(crate) async fn operation_time(database: &Database) -> Result<Timestamp> {
    let answer = database.run_command(doc! {"ping": 1}).await?;
    Ok(answer.get_timestamp("operationTime")?)
}
