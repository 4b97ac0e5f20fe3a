//! Deleting subscriptions when they expire, by whichever node comes first.
//!
//! What is delivered does not depend on it: the router delivers nothing that was committed after a
//! subscription's expiry. The delete is what ends its sockets and frees its id. The index that makes the server
//! delete it (within a minute) stays for the time when no node runs.

use std::{future::pending, time::Duration};

use bson::DateTime;
use tokio::{sync::watch, time::sleep};

use crate::store::{Store, StoreError};

/// So long a node waits at most before it deletes, so that not all try the same at once.
const SPREAD: Duration = Duration::from_millis(300);
/// Before it looks again where nothing could be deleted.
const PAUSE: Duration = Duration::from_millis(250);
/// Before it asks for the server's clock again while it waits: clocks are set, and drift.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Deletes what expires. `next` says when the next subscription does.
pub(super) async fn run(store: Store, mut next: watch::Receiver<Option<DateTime>>) {
    loop {
        let at = *next.borrow_and_update();
        let waits = async {
            match at {
                Some(at) => delete_at(&store, at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            changed = next.changed() => if changed.is_err() {
                // The router has ended: whoever watches it ends this node.
                pending::<()>().await;
            },
            () = waits => {}
        }
    }
}

/// Waits until `at` is over, and deletes what has expired.
async fn delete_at(store: &Store, at: DateTime) {
    match left(store, at).await {
        Ok(Duration::ZERO) => {}
        Ok(left) if left > LONGEST_WAIT => return sleep(LONGEST_WAIT).await,
        Ok(left) => sleep(left).await,
        Err(error) => return put_off(store, &error).await,
    }
    // Where another node is quicker, this is dropped as soon as its delete is seen.
    sleep(SPREAD.mul_f64(rand::random())).await;
    match store.delete_expired_subscriptions().await {
        // The router hears of it in a moment, and of what is left.
        Ok(_) => sleep(PAUSE).await,
        Err(error) => put_off(store, &error).await,
    }
}

/// How long it is until then by the server's clock.
async fn left(store: &Store, at: DateTime) -> Result<Duration, StoreError> {
    let now = store.server_time().await?;
    let millis = at.timestamp_millis().saturating_sub(now.timestamp_millis());
    Ok(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
}

async fn put_off(store: &Store, error: &StoreError) {
    tracing::debug!(%error, "cannot delete expired subscriptions now");
    store.availability().wait_primary().await;
    sleep(PAUSE).await;
}
