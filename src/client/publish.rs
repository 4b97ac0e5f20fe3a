//! Publishing a batch: one request, repeated until it is answered for good.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, header};

use super::{
    backoff::Backoff,
    error::ClientError,
    http::{Answer, Client},
};

const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// The answer while an earlier attempt of the same request still runs.
const STILL_RUNNING: u16 = 409;

impl Client {
    /// Publishes events: a JSON array of them, or one. All attempts carry the same idempotency key, so the service
    /// stores the events once, even where its answer to an earlier attempt was lost. `retrying` is called before each
    /// wait.
    pub(crate) async fn publish(
        &self,
        body: Bytes,
        retries: u32,
        retrying: impl Fn(&ClientError, Duration),
    ) -> Result<Answer, ClientError> {
        let key = uuid::Uuid::now_v7().to_string();
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let request = self
                .request(Method::POST, &["events"])
                .header(header::CONTENT_TYPE, "application/json")
                .header("Idempotency-Key", &key)
                .body(body.clone());
            match self.call(request).await {
                Err(error) if may_retry(&error, backoff.attempts(), retries) => {
                    let wait = backoff.next(error.retry_after());
                    retrying(&error, wait);
                    tokio::time::sleep(wait).await;
                }
                outcome => return outcome,
            }
        }
    }
}

fn may_retry(error: &ClientError, attempts: u32, retries: u32) -> bool {
    let still_running = attempts > 0
        && matches!(error, ClientError::Refused(problem) if problem.status == STILL_RUNNING);
    attempts < retries && (error.is_retryable() || still_running)
}
