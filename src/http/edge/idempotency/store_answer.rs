//! What is written of a request that was done: its answer, or that another attempt may be made.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::store::{RESERVATION_LEASE, Reservation, Store, StoreError, StoredAnswer, jittered};

/// Between two attempts while the database is in trouble, on average.
const PAUSE: Duration = Duration::from_millis(200);

/// What remains to be written of a request that is answered.
pub(super) struct Keeping {
    pub(super) store: Store,
    pub(super) reservation: Reservation,
    /// `None` gives the reservation up.
    pub(super) answer: Option<StoredAnswer>,
}

impl Keeping {
    /// Writes it; where the database is away, returns what is to be done beside the answer.
    pub(super) async fn now(self) -> Option<impl Future<Output = ()>> {
        match self.attempt().await {
            Err(error) if error.is_unavailable() => Some(self.later()),
            outcome => {
                told(outcome);
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

    /// Tries until the reservation would run out by itself, so that whoever repeats the request when the
    /// database is back need not wait for that.
    async fn later(self) {
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
            told(outcome);
        } else {
            tracing::warn!("an answer could not be kept while the database was away");
        }
    }
}

/// The work is done and its answer stands, kept or not. A repeat finds what it stored by the seed.
fn told(outcome: Result<(), StoreError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "an answer could not be kept for a repeated request");
    }
}
