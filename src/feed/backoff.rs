//! Growing pauses between attempts.

use std::time::Duration;

use rand::RngExt as _;
use tokio::time::sleep;

use crate::{config, store::AvailabilityWatch};

/// Growing pauses, with jitter so that many nodes do not come back at once. While the database is unavailable, a
/// pause ends soon after it is back.
#[derive(Debug)]
pub(super) struct Backoff {
    availability: AvailabilityWatch,
    shortest: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(settings: &config::Feed, availability: AvailabilityWatch) -> Self {
        Self {
            availability,
            shortest: settings.retry_min,
            longest: settings.retry_max,
            next: settings.retry_min,
        }
    }

    pub(super) async fn wait(&mut self) {
        let jitter = rand::rng().random_range(0.5..1.0);
        let no_primary = !self.availability.has_primary();
        tokio::select! {
            () = sleep(self.next.mul_f64(jitter)) => {}
            () = self.availability.wait_primary(), if no_primary => sleep(self.shortest.mul_f64(jitter)).await,
        }
        self.next = (self.next * 2).min(self.longest);
    }

    /// Makes the next pause a short one, after a success.
    pub(super) fn reset(&mut self) {
        self.next = self.shortest;
    }
}
