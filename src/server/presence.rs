//! The signs of life of this node, for the others and for operators.

use std::sync::Arc;

use rand::RngExt as _;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    receipts::Receipts,
    router::RouterHandle,
    store::{Beat, NodeCard, Store, StoreError},
    telemetry::Metrics,
};

/// What a sign of life is made of.
#[derive(Debug)]
pub(super) struct Presence {
    pub(super) card: Arc<NodeCard>,
    pub(super) store: Store,
    pub(super) router: RouterHandle,
    pub(super) receipts: Receipts,
    pub(super) metrics: Arc<Metrics>,
    /// Cancelled when the node begins to stop.
    pub(super) closing: CancellationToken,
}

impl Presence {
    /// Writes one sign of life.
    pub(super) async fn beat(&self) -> Result<(), StoreError> {
        let router = self.router.progress();
        // In this order: the task of receipts then knows of every delete that the router has applied.
        let progress = self
            .receipts
            .progress(router.loaded.then_some(router.position))
            .await;
        let beat = Beat {
            progress,
            connections: self.metrics.open_connections(),
            stopping: self.closing.is_cancelled(),
        };
        self.store.beat(&self.card, beat).await
    }

    /// Writes them until `stop`; one at once when the node begins to stop.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut told = false;
        loop {
            let beat = async {
                self.pause().await;
                self.beat().await
            };
            let beat = tokio::select! {
                beat = beat => beat,
                () = stop.cancelled() => return,
            };
            match beat {
                Ok(()) => told = false,
                Err(error) if told => tracing::debug!(%error, "still no sign of life written"),
                Err(error) => {
                    tracing::warn!(%error, "no sign of life can be written");
                    told = true;
                }
            }
        }
    }

    /// Nodes that were started together do not write together for ever.
    async fn pause(&self) {
        let jitter = rand::rng().random_range(0.9..1.1);
        let pause = sleep(self.card.interval.mul_f64(jitter));
        tokio::select! {
            () = pause => {}
            () = self.closing.cancelled(), if !self.closing.is_cancelled() => {}
        }
    }
}
