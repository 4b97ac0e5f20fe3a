//! What has to be done now and then, by whichever node comes by.

use std::{sync::Arc, time::Duration};

use rand::RngExt as _;
use tokio::time::sleep;

use super::horizon::Horizon;
use crate::{store::Store, telemetry::Metrics};

/// How often, on average. Every node does it; doing it twice does no harm.
const INTERVAL: Duration = Duration::from_mins(1);

/// Keeps house.
pub(super) async fn run(store: Store, metrics: Arc<Metrics>) {
    let mut horizon = Horizon::default();
    loop {
        horizon.look(&store, &metrics).await;
        let pause = INTERVAL.mul_f64(rand::rng().random_range(0.5..1.5));
        sleep(pause).await;
        // Events that other programs inserted have no date for retention to count from.
        match store.stamp_unstamped_events().await {
            Ok(0) => {}
            Ok(stamped) => tracing::debug!(stamped, "events of other programs are dated"),
            Err(error) => tracing::debug!(%error, "events cannot be dated now"),
        }
    }
}
