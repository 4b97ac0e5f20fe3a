//! The heartbeat of this node, for other nodes and for operators.

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

/// Average pause between two attempts at the first heartbeat.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The heartbeat of this node, with the sources of its content.
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
    /// Writes one heartbeat.
    pub(super) async fn write(&self) -> Result<(), StoreError> {
        let router = self.router.progress();
        // In this order the receipts know of every delete that the router has applied.
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

    /// Writes the first heartbeat, within `patience`: a node that the others do not know serves nobody.
    pub(super) async fn write_first(&self, patience: Duration) -> Result<(), StoreError> {
        let deadline = Instant::now() + patience;
        while let Err(error) = self.write().await {
            if !error.is_unavailable() || Instant::now() >= deadline {
                return Err(error);
            }
            tracing::warn!(%error, "cannot write the first heartbeat yet");
            sleep(jittered(FIRST_PAUSE)).await;
        }
        let NodeInfo {
            id, host, address, ..
        } = &*self.info;
        tracing::info!(node = id, host, address, "this node");
        Ok(())
    }

    /// Writes heartbeats for ever, and one at once when the node begins to stop.
    pub(super) async fn run(self) {
        let mut told = false;
        loop {
            self.pause().await;
            match self.write().await {
                Ok(()) => told = false,
                Err(error) if told => tracing::debug!(%error, "still cannot write a heartbeat"),
                Err(error) => {
                    tracing::warn!(%error, "cannot write a heartbeat");
                    told = true;
                }
            }
        }
    }

    /// Waits for the next heartbeat. The time is random, so that nodes that started together do not go on writing
    /// together.
    async fn pause(&self) {
        let jitter = rand::rng().random_range(0.9..1.1);
        let pause = sleep(self.info.interval.mul_f64(jitter));
        tokio::select! {
            () = pause => {}
            () = self.leaving.cancelled(), if !self.leaving.is_cancelled() => {}
        }
    }
}
