//! The signs of life of this node, for the others and for operators.

use std::{sync::Arc, time::Duration};

use rand::RngExt as _;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    receipts::Receipts,
    router::RouterHandle,
    store::{Heartbeat, NodeInfo, Store, StoreError, jittered},
    telemetry::Metrics,
};

/// Between two attempts at the first one, on average.
const PAUSE: Duration = Duration::from_millis(250);

/// What a sign of life is made of.
#[derive(Debug)]
pub(super) struct NodeHeartbeat {
    pub(super) info: Arc<NodeInfo>,
    pub(super) store: Store,
    pub(super) router: RouterHandle,
    pub(super) receipts: Receipts,
    pub(super) metrics: Arc<Metrics>,
    /// Cancelled when the node begins to stop.
    pub(super) leaving: CancellationToken,
}

impl NodeHeartbeat {
    /// Writes one sign of life.
    pub(super) async fn beat(&self) -> Result<(), StoreError> {
        let router = self.router.progress();
        // In this order: the task of receipts then knows of every delete that the router has applied.
        let progress = self
            .receipts
            .progress(router.loaded.then_some(router.position))
            .await;
        let heartbeat = Heartbeat {
            progress,
            connections: self.metrics.open_connections(),
            stopping: self.leaving.is_cancelled(),
        };
        self.store.write_heartbeat(&self.info, heartbeat).await
    }

    /// Writes the first, within `patience`: nobody is served by a node that the others have never heard of.
    pub(super) async fn first(&self, patience: Duration) -> Result<(), StoreError> {
        let deadline = Instant::now() + patience;
        while let Err(error) = self.beat().await {
            if !error.is_unavailable() || Instant::now() >= deadline {
                return Err(error);
            }
            tracing::warn!(%error, "cannot write the first heartbeat yet");
            sleep(jittered(PAUSE)).await;
        }
        let NodeInfo {
            id, host, address, ..
        } = &*self.info;
        tracing::info!(node = id, host, address, "this node");
        Ok(())
    }

    /// Writes them; one at once when the node begins to stop.
    pub(super) async fn run(self) {
        let mut told = false;
        loop {
            self.pause().await;
            match self.beat().await {
                Ok(()) => told = false,
                Err(error) if told => tracing::debug!(%error, "still cannot write a heartbeat"),
                Err(error) => {
                    tracing::warn!(%error, "cannot write a heartbeat");
                    told = true;
                }
            }
        }
    }

    /// Nodes that were started together do not write together for ever.
    async fn pause(&self) {
        let jitter = rand::rng().random_range(0.9..1.1);
        let pause = sleep(self.info.interval.mul_f64(jitter));
        tokio::select! {
            () = pause => {}
            () = self.leaving.cancelled(), if !self.leaving.is_cancelled() => {}
        }
    }
}
