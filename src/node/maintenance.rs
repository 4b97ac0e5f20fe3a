//! Periodic maintenance. Every node runs it; repeats are harmless.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::oplog_window::OplogWindow;
use crate::{
    store::{Store, jittered},
    telemetry::Metrics,
};

/// Average time between two rounds.
const INTERVAL: Duration = Duration::from_mins(1);

/// Runs the maintenance for ever.
pub(super) async fn run(store: Store, metrics: Arc<Metrics>) {
    let mut window = OplogWindow::default();
    loop {
        window.measure(&store, &metrics).await;
        sleep(jittered(INTERVAL)).await;
    }
}
