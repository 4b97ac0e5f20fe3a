//! The deletes from before this node's load, read from the oplog.
//!
//! A delete without connections leaves no trace but its entry in the oplog. A node that has just started may be asked about
//! a subscription that it never knew. It then reads the deletes of the last day in the background, and only once however
//! many ask.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use super::Receipts;
use crate::{
    access::Right,
    config,
    feed::{DeleteReader, OplogError},
    router::RouterHandle,
    store::Store,
};

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

/// Returns a handle, and the task that reads the deletes once it is asked to.
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
    let task = async move {
        loop {
            wanted.notified().await;
            match read(&store, &router, &receipts, &settings).await {
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

async fn read(
    store: &Store,
    router: &RouterHandle,
    receipts: &Receipts,
    settings: &config::Feed,
) -> Result<(), OplogError> {
    if !router.loaded(LOAD_PATIENCE).await {
        return Err(OplogError::Failed);
    }
    let known = receipts.find(&Right::subscription("")).await;
    let since = known
        .and_then(|known| known.since)
        .ok_or(OplogError::Failed)?;
    let mut reader = DeleteReader::open(store, settings, since).await?;
    while let Some(deletes) = reader.next().await? {
        for (right, deletion) in deletes {
            receipts.add_old(right, deletion).await;
        }
    }
    receipts.old_added_since(reader.from()).await;
    Ok(())
}
