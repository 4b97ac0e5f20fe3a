//! Storing the answer of a request, or giving up its reservation so that another attempt may be made.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::store::{RESERVATION_LEASE, Reservation, Store, StoreError, StoredAnswer, jittered};

/// The average pause between two attempts while the database is in trouble.
const PAUSE: Duration = Duration::from_millis(200);

/// An answer that is not stored yet.
pub(super) struct PendingAnswer {
    pub(super) store: Store,
    pub(super) reservation: Reservation,
    /// `None` gives the reservation up.
    pub(super) answer: Option<StoredAnswer>,
}

impl PendingAnswer {
    /// Stores the answer. If the database is unavailable, returns the retries, which need not hold up the client.
    pub(super) async fn store(self) -> Option<impl Future<Output = ()>> {
        match self.attempt().await {
            Err(error) if error.is_unavailable() => Some(self.retry()),
            outcome => {
                log_failure(outcome);
                None
            }
        }
    }

    async fn attempt(&self) -> Result<(), StoreError> {
        let reservation = self.reservation.clone();
        match &self.answer {
            Some(answer) => self.store.finish(reservation, answer).await,
            None => self.store.abandon(reservation).await,
        }
    }

    /// Tries until the reservation would expire by itself. A client that repeats its request when the database is back
    /// then need not wait for that.
    async fn retry(self) {
        let trying = async {
            loop {
                self.store.availability().wait_primary().await;
                sleep(jittered(PAUSE)).await;
                match self.attempt().await {
                    Err(error) if error.is_unavailable() => {}
                    outcome => return outcome,
                }
            }
        };
        if let Ok(outcome) = timeout(RESERVATION_LEASE, trying).await {
            log_failure(outcome);
        } else {
            tracing::warn!("an answer could not be stored while the database was unavailable");
        }
    }
}

/// Logs that an answer could not be stored. The work is done and the answer stands: a repeated request finds the work by
/// the key's seed.
fn log_failure(outcome: Result<(), StoreError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "an answer could not be stored for a repeated request");
    }
}
