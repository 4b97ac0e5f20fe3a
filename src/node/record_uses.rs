//! Writing down when keys are used. If a write fails, nothing else does: the key's next use is written.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    http::{USE_INTERVAL, Uses},
    router::RouterHandle,
    store::{Store, jittered},
    telemetry::Metrics,
};

/// Keys whose uses are written together.
const BATCH_KEYS: usize = 500;
/// Average time that a use waits for others.
const BATCH_DELAY: Duration = Duration::from_millis(500);

/// The task that writes down when keys are used.
#[derive(Debug)]
pub(super) struct UseRecorder {
    store: Store,
    router: RouterHandle,
    uses: Arc<Uses>,
    /// The ids of keys that requests have used.
    queue: mpsc::Receiver<Box<str>>,
    metrics: Arc<Metrics>,
}

impl UseRecorder {
    pub(super) fn new(store: Store, router: RouterHandle, metrics: Arc<Metrics>) -> Self {
        let (uses, queue) = Uses::new();
        Self {
            store,
            router,
            uses: Arc::new(uses),
            queue,
            metrics,
        }
    }

    /// Returns the record for those who see keys used.
    pub(super) fn uses(&self) -> Arc<Uses> {
        Arc::clone(&self.uses)
    }

    /// Writes for ever. Keys with open sockets are in use, although no request says so.
    pub(super) async fn run(mut self) {
        let mut look = Instant::now() + jittered(USE_INTERVAL);
        let mut keys = Vec::with_capacity(BATCH_KEYS);
        loop {
            tokio::select! {
                count = self.queue.recv_many(&mut keys, BATCH_KEYS) => {
                    if count == 0 {
                        // Nobody is left to use a key.
                        pending::<()>().await;
                    }
                    self.gather(&mut keys).await;
                    self.write(&keys).await;
                    keys.clear();
                }
                () = sleep_until(look) => {
                    self.write_those_in_use().await;
                    look = Instant::now() + jittered(USE_INTERVAL);
                }
            }
        }
    }

    /// Gathers more uses for a moment, as far as there is room.
    async fn gather(&mut self, keys: &mut Vec<Box<str>>) {
        sleep(jittered(BATCH_DELAY)).await;
        while keys.len() < BATCH_KEYS
            && let Ok(key) = self.queue.try_recv()
        {
            keys.push(key);
        }
    }

    async fn write_those_in_use(&self) {
        let mut keys = match self.router.keys_in_use().await {
            Ok(keys) => keys,
            Err(busy) => {
                tracing::debug!(%busy, "cannot tell which keys are in use");
                return;
            }
        };
        keys.retain(|key| self.uses.is_due(key));
        for some in keys.chunks(BATCH_KEYS) {
            self.write(some).await;
        }
    }

    async fn write(&self, keys: &[Box<str>]) {
        let written = self.store.note_uses(keys).await;
        if let Err(error) = &written {
            tracing::debug!(%error, keys = keys.len(), "cannot write when keys were used");
        }
        let outcome = written.map_or("failed", |()| "written");
        self.metrics.access.used(outcome, keys.len());
    }
}
