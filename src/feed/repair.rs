//! Setting up this service's collections again after one was dropped, renamed or replaced.
//!
//! This runs beside the feed, which must not wait for an index: the connections of subscriptions that are gone have
//! to hear of it now.

use tokio::sync::Notify;

use super::backoff::Backoff;
use crate::store::Store;

/// A request for repairs.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    wanted: Notify,
}

impl Repairs {
    /// Asks for a repair. If one is running, another one follows.
    pub(super) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Repairs whenever it is asked to, each time until it succeeds.
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
