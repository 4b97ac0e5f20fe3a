//! The deletes from before this node's load, read from the oplog.
//!
//! A delete without sockets leaves no trace but its entry in the oplog. A node that has just started may be asked about
//! a subscription that it never knew. It then reads the deletes of the last day in the background, their keys alone, and
//! only once however many ask.

use std::{future::pending, sync::Arc, time::Duration};

use bson::{RawDocument, Timestamp};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use super::{
    decode::{OwnCollection, RawChange},
    oplog_history::OplogError,
    stream::{ChangeStream, Options, StreamError},
};
use crate::{
    config,
    position::Position,
    receipts::Receipts,
    router::RouterHandle,
    store::{Deletion, Store, TEARDOWN_MEMORY},
    subscription::{DocumentKey, SubscriptionId},
};

/// Deletes in one reply at most.
const BATCH_SIZE: u32 = 2_000;
/// The longest wait for the first load.
const LOAD_PATIENCE: Duration = Duration::from_mins(10);

/// A handle to the task that reads the deletes.
#[derive(Clone, Debug)]
pub(crate) struct DeleteHistory {
    wanted: Arc<Notify>,
    done: watch::Receiver<bool>,
}

impl DeleteHistory {
    /// Has the deletes read, and waits until they are; false if that took longer than `patience`.
    pub(crate) async fn wait_read(&self, patience: Duration) -> bool {
        self.wanted.notify_one();
        let mut done = self.done.clone();
        matches!(
            timeout(patience, done.wait_for(|done| *done)).await,
            Ok(Ok(_))
        )
    }
}

/// Returns a handle, and the task that reads the deletes when it is asked to.
pub(crate) fn delete_history(
    store: Store,
    router: RouterHandle,
    receipts: Receipts,
    settings: config::Feed,
) -> (DeleteHistory, impl Future<Output = ()>) {
    let (finished, done) = watch::channel(false);
    let wanted = Arc::new(Notify::new());
    let handle = DeleteHistory {
        wanted: Arc::clone(&wanted),
        done,
    };
    let reader = DeleteReader {
        store,
        router,
        receipts,
        settings,
    };
    let task = async move {
        loop {
            wanted.notified().await;
            match reader.read().await {
                Ok(()) => break,
                // What is lost stays lost: there is no more to be known.
                Err(OplogError::Lost) => {
                    tracing::info!(
                        "the oplog does not reach back to the deletes before this node's start"
                    );
                    break;
                }
                Err(OplogError::Failed) => {
                    tracing::warn!("cannot read the deletes before this node's start now");
                }
            }
        }
        finished.send_replace(true);
        // A task that ends would be taken for a fault.
        pending::<()>().await;
    };
    (handle, task)
}

struct DeleteReader {
    store: Store,
    router: RouterHandle,
    receipts: Receipts,
    settings: config::Feed,
}

impl DeleteReader {
    async fn read(&self) -> Result<(), OplogError> {
        if !self.router.loaded(LOAD_PATIENCE).await {
            return Err(OplogError::Failed);
        }
        let remembered = self.receipts.find("").await;
        let until = remembered.and_then(|r| r.since).ok_or(OplogError::Failed)?;
        let from = self.start(until).await?;
        let options = Options {
            max_await: self.settings.max_await,
            batch_size: BATCH_SIZE,
            keys_only: true,
        };
        let failed = |error: StreamError| super::oplog_history::explain(&error);
        let mut stream = ChangeStream::open_of_deletes(self.store.feed_database(), from, options)
            .await
            .map_err(failed)?;
        let mut reached = Position::at(from);
        while reached < until {
            let reply = stream.next().await.map_err(failed)?;
            for change in reply.changes().map_err(failed)? {
                reached = reached.max(self.note(change, until).await?);
            }
            if let Some((_, after)) = reply.token() {
                reached = reached.max(after);
            }
        }
        self.receipts.recalled_since(Position::at(from)).await;
        Ok(())
    }

    /// Returns the time a day before `until`, or the begin of the oplog if that is later.
    async fn start(&self, until: Position) -> Result<Timestamp, OplogError> {
        let oldest = self.store.oplog_begin().await.map_err(|error| {
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

    /// Notes a delete; returns its position.
    async fn note(&self, change: &RawDocument, until: Position) -> Result<Position, OplogError> {
        let raw = RawChange::decode(change).map_err(|_| OplogError::Failed)?;
        if raw.operation != "delete" && raw.position < until {
            // The database was dropped: what was deleted before that is told by nobody.
            return Err(OplogError::Lost);
        }
        let key = raw.document_key.map(DocumentKey::of);
        if let (Some(id), Some(OwnCollection::Subscriptions)) =
            (key.as_ref().and_then(DocumentKey::id), raw.collection)
            && raw.position < until
        {
            let deletion = Deletion {
                at: raw.position,
                wall_time: Some(raw.wall_time),
                ending: None,
            };
            self.receipts
                .recalled(SubscriptionId::from(&*id), deletion)
                .await;
        }
        Ok(raw.position)
    }
}
