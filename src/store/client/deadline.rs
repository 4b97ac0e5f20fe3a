//! Calls to the driver, each of which ends in time.
//!
//! The server is told how long it may work. The caller waits a little longer, and stops as soon as the
//! database is known to be unavailable.

use std::time::{Duration, Instant};

use bson::{Document, Timestamp, doc};
use mongodb::{Client, ClientSession};
use tokio::time::timeout;

use super::{availability::Availability, error::StoreError};
use crate::store::Store;

impl Store {
    /// Pings the primary and returns its operation time.
    pub async fn ping(&self) -> Result<Timestamp, StoreError> {
        let mut session = self.session().await?;
        let ping = self.database().run_command(doc! {"ping": 1});
        self.with_deadline(ping.session(&mut session)).await?;
        operation_time(&session)
    }

    /// Runs a command on the primary.
    pub(in crate::store) async fn run(&self, command: Document) -> Result<Document, StoreError> {
        self.with_deadline(self.database().run_command(command))
            .await
    }

    pub(in crate::store) async fn session(&self) -> Result<ClientSession, StoreError> {
        self.with_deadline(self.client().start_session()).await
    }

    pub(in crate::store) fn client(&self) -> &Client {
        self.database().client()
    }

    /// The time that the server may work on one request: a little less than the caller waits, so that
    /// the server's own answer comes first.
    pub(in crate::store) fn server_limit(&self) -> Duration {
        self.inner.timeout.mul_f32(0.9)
    }

    /// Waits for a call to the driver, for `limits.database_timeout` at most. Notes a missing right.
    pub(in crate::store) fn with_deadline<T>(
        &self,
        call: impl IntoFuture<Output = mongodb::error::Result<T>>,
    ) -> impl Future<Output = Result<T, StoreError>> {
        let probe = self.probe(call);
        async move { self.note_missing_right(probe.await) }
    }

    /// [`Store::with_deadline`] for a call that may be forbidden without harm.
    pub(in crate::store) fn probe<T>(
        &self,
        call: impl IntoFuture<Output = mongodb::error::Result<T>>,
    ) -> impl Future<Output = Result<T, StoreError>> {
        let waited = self.inner.timeout;
        let answer = self.while_available(call);
        async move {
            match timeout(waited, answer).await {
                Ok(answer) => answer,
                Err(_) => Err(StoreError::TimedOut { waited }),
            }
        }
    }

    /// Waits for a call to the driver for as long as the database is available: for work of unknown
    /// length, for example building an index.
    pub(in crate::store) fn without_deadline<T>(
        &self,
        call: impl IntoFuture<Output = mongodb::error::Result<T>>,
    ) -> impl Future<Output = Result<T, StoreError>> {
        let answer = self.while_available(call);
        async move { self.note_missing_right(answer.await) }
    }

    /// Fails at once if the database is unavailable, and as soon as it becomes so. The server may still
    /// have done what was sent until then.
    fn while_available<T>(
        &self,
        call: impl IntoFuture<Output = mongodb::error::Result<T>>,
    ) -> impl Future<Output = Result<T, StoreError>> {
        // The driver's futures are large, and would be copied into each of those around them.
        let call = Box::pin(call.into_future());
        async move {
            if let Availability::Unavailable(outage) = self.availability().now() {
                return Err(StoreError::KnownUnavailable {
                    waited: outage.since.elapsed(),
                });
            }
            let begun = Instant::now();
            tokio::select! {
                biased;
                answer = call => answer.map_err(StoreError::from),
                _ = self.availability().wait_unavailable() => Err(StoreError::TimedOut { waited: begun.elapsed() }),
            }
        }
    }

    pub(in crate::store) fn note_missing_right<T>(
        &self,
        answer: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Err(StoreError::NotPermitted { detail, .. }) = &answer {
            self.availability().note_missing_right(detail);
        }
        answer
    }
}

/// Returns the cluster time of the last operation of `session`.
pub(in crate::store) fn operation_time(session: &ClientSession) -> Result<Timestamp, StoreError> {
    session.operation_time().ok_or(StoreError::Unexpected(
        "the server's answer has no operationTime",
    ))
}
