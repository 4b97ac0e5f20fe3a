//! Setting our collections up again after one of them was dropped, renamed or replaced.
//!
//! It goes on beside the feed, which has better to do than to wait for an index: the connections of
//! subscriptions that are gone are to hear of it now.

use tokio::sync::Notify;

use super::backoff::Backoff;
use crate::store::Store;

/// Whether there is something to set up.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    wanted: Notify,
}

impl Repairs {
    /// Has everything set up again soon. What is asked for during a repair is another one after it.
    pub(super) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Sets up what is asked for, each time until it is done.
    pub(super) async fn run(&self, store: &Store, mut backoff: Backoff) {
        loop {
            self.wanted.notified().await;
            while let Err(error) = store.repair().await {
                tracing::warn!(%error, "cannot restore the collections yet");
                backoff.wait().await;
            }
            tracing::info!("restored the collections");
            backoff.reset();
        }
    }
}
