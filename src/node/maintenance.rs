//! What has to be done now and then, by whichever node comes by.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::oplog_window::OplogWindow;
use crate::{
    store::{Store, jittered},
    telemetry::Metrics,
};

/// How often, on average. Every node does it; doing it twice does no harm.
const INTERVAL: Duration = Duration::from_mins(1);

/// Keeps house.
pub(super) async fn run(store: Store, metrics: Arc<Metrics>) {
    let mut window = OplogWindow::default();
    loop {
        window.measure(&store, &metrics).await;
        sleep(jittered(INTERVAL)).await;
    }
}
