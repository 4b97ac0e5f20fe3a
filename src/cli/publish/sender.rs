//! One request, tried until it is answered for good.

use std::time::Duration;

use reqwest::{Method, header};
use serde_json::Value;

use super::progress::Progress;
use crate::cli::{
    backoff::Backoff,
    client::{Client, ClientError},
    style,
};

const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// What the service says while an earlier try of the same request still runs.
const STILL_RUNNING: u16 = 409;

/// Sends bodies to the service.
pub(super) struct Sender {
    client: Client,
    retries: u32,
    progress: Progress,
}

impl Sender {
    pub(super) fn new(client: Client, retries: u32, progress: Progress) -> Self {
        Self {
            client,
            retries,
            progress,
        }
    }

    /// Sends one body. All tries carry the same idempotency key, so that the service stores it
    /// once, even where its answer to an earlier try was lost.
    pub(super) async fn send(&self, body: Vec<u8>) -> Result<Value, ClientError> {
        let body = bytes::Bytes::from(body);
        let key = uuid::Uuid::now_v7().to_string();
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let request = self
                .client
                .request(Method::POST, &["events"])
                .header(header::CONTENT_TYPE, "application/json")
                .header("Idempotency-Key", &key)
                .body(body.clone());
            match self.client.call(request).await {
                Ok((_, answer)) => return Ok(answer),
                Err(error) if self.may_retry(&error, backoff.attempts()) => {
                    let wait = backoff.next(error.retry_after());
                    self.say(&error, wait);
                    tokio::time::sleep(wait).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn may_retry(&self, error: &ClientError, retried: u32) -> bool {
        let still_running = retried > 0
            && matches!(error, ClientError::Refused(problem) if problem.status == STILL_RUNNING);
        retried < self.retries && (error.is_retryable() || still_running)
    }

    fn say(&self, error: &ClientError, wait: Duration) {
        let reason = match error {
            ClientError::Refused(problem) => problem.one_line(),
            error => error.to_string(),
        };
        let text = format!("{reason}; trying again in {:.1} s", wait.as_secs_f64());
        self.progress.aside(|| style::note(text));
    }
}
