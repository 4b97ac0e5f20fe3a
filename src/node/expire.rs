//! Deleting subscriptions when they expire. The first node to try does it.
//!
//! Delivery does not depend on it: the router delivers nothing that was committed after a subscription's
//! expiry. The delete ends its sockets and frees its id. The TTL index, by which the server deletes within a
//! minute, is for times when no node runs.

use std::{future::pending, time::Duration};

use bson::DateTime;
use tokio::{sync::watch, time::sleep};

use crate::store::{Store, StoreError};

/// The longest random wait before a delete, so that not all nodes try at once.
const SPREAD: Duration = Duration::from_millis(300);
/// Pause before another attempt.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest wait before the server's clock is asked again: clocks are set, and drift.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// Deletes subscriptions as they expire. `next` tells when the next one does.
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
                // The router has ended, so the supervisor ends this node.
                pending::<()>().await;
            },
            () = waits => {}
        }
    }
}

/// Waits until `at` is over, and deletes expired subscriptions.
async fn delete_at(store: &Store, at: DateTime) {
    match left(store, at).await {
        Ok(Duration::ZERO) => {}
        Ok(left) if left > LONGEST_WAIT => return sleep(LONGEST_WAIT).await,
        Ok(left) => sleep(left).await,
        Err(error) => return put_off(store, &error).await,
    }
    // If another node is faster, its delete drops this future as soon as it is seen.
    sleep(SPREAD.mul_f64(rand::random())).await;
    match store.delete_expired_subscriptions().await {
        // The router sees the delete in a moment, and what is left.
        Ok(_) => sleep(PAUSE).await,
        Err(error) => put_off(store, &error).await,
    }
}

/// Returns the time until then, by the server's clock.
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
