//! What tasks have in common that keep something in the database: one write at a time, which goes on
//! until it succeeds, and answers to those who ask.

use std::{ops::Range, pin::Pin, time::Duration};

use tokio::{sync::oneshot, time::sleep};

use crate::store::{StoreError, jittered};

/// The write that is under way, and what it is of.
pub(crate) struct Writing<T> {
    done: Pin<Box<dyn Future<Output = ()> + Send>>,
    pub(crate) of: T,
}

impl<T> Writing<T> {
    pub(crate) fn new(of: T, done: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            done: Box::pin(done),
            of,
        }
    }
}

/// Waits for the end of the write that is under way, and gives back what it was of; for ever if there
/// is none.
pub(crate) async fn written<T>(writing: &mut Option<Writing<T>>) -> T {
    if let Some(writing) = writing {
        writing.done.as_mut().await;
    }
    match writing.take() {
        Some(writing) => writing.of,
        None => std::future::pending().await,
    }
}

/// Writes until that succeeds, with growing pauses in between.
pub(crate) async fn until_written<W: Future<Output = Result<(), StoreError>>>(
    pauses: Range<Duration>,
    mut write: impl FnMut() -> W,
    mut on_failure: impl FnMut(StoreError),
) {
    let mut pause = pauses.start;
    while let Err(error) = write().await {
        on_failure(error);
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(pauses.end);
    }
}

/// Answers a question.
pub(crate) fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    if reply.send(value).is_err() {
        tracing::trace!("the asker has gone");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_goes_on_until_it_succeeds_and_tells_each_failure() {
        const FAILURES: usize = 5;
        let (told, mut failures) = oneshot::channel();
        let writing = async {
            let (mut attempts, mut failed) = (0, 0);
            let write = || {
                attempts += 1;
                let done = attempts > FAILURES;
                async move { done.then_some(()).ok_or(StoreError::Unexpected("not yet")) }
            };
            let pauses = Duration::from_secs(1)..Duration::from_secs(2);
            until_written(pauses, write, |_| failed += 1).await;
            answer(told, failed);
        };
        let mut writing = Some(Writing::new("what", writing));
        assert!(failures.try_recv().is_err());
        assert_eq!(written(&mut writing).await, "what");
        assert_eq!(failures.try_recv(), Ok(FAILURES));
        assert!(writing.is_none());
    }
}
