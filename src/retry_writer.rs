//! One write at a time, repeated until it succeeds: for tasks that own something in the database.

use std::{ops::Range, pin::Pin, time::Duration};

use tokio::{sync::oneshot, time::sleep};

use crate::{
    store::{StoreError, jittered},
    telemetry::{Health, Part},
};

/// A write under way, with the batch that it writes.
pub(crate) struct PendingWrite<T> {
    done: Pin<Box<dyn Future<Output = ()> + Send>>,
    pub(crate) of: T,
}

impl<T> PendingWrite<T> {
    pub(crate) fn new(of: T, done: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            done: Box::pin(done),
            of,
        }
    }
}

/// Waits for the write that is under way and returns its batch. Waits for ever if there is none.
pub(crate) async fn finished<T>(writing: &mut Option<PendingWrite<T>>) -> T {
    if let Some(writing) = writing {
        writing.done.as_mut().await;
    }
    match writing.take() {
        Some(writing) => writing.of,
        None => std::future::pending().await,
    }
}

/// Writes until it succeeds, with growing pauses. Until then `part` is `behind`.
pub(crate) async fn write_with_retries<W: Future<Output = Result<(), StoreError>>>(
    health: &Health,
    part: Part,
    pauses: Range<Duration>,
    mut write: impl FnMut() -> W,
) {
    let mut pause = pauses.start;
    while let Err(error) = write().await {
        if health.report(part, "behind", Some(error.to_string())) {
            tracing::warn!(%error, "{} cannot be written yet", part.name());
        }
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(pauses.end);
    }
    health.report(part, "up", None);
}

/// Answers a question, if the asker still waits.
pub(crate) fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    if reply.send(value).is_err() {
        tracing::trace!("the caller no longer waits");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, telemetry::Lag};

    #[tokio::test(start_paused = true)]
    async fn a_write_goes_on_until_it_succeeds_and_its_part_is_behind_meanwhile() {
        const FAILURES: usize = 5;
        let pauses = Duration::from_secs(1)..Duration::from_secs(2);
        for part in [Part::Positions, Part::Receipts] {
            let health = Health::new(&config::Feed::default(), Lag::default());
            let asked = health.clone();
            let condition = move || {
                let told = &asked.to_json()["parts"][part.name()];
                (told["status"].clone(), told["detail"].clone())
            };
            let up = ("up".into(), serde_json::Value::Null);
            assert_eq!(condition(), up);
            let (reply, found) = oneshot::channel();
            let (seen, pauses) = (condition.clone(), pauses.clone());
            let writing = async move {
                let mut conditions = Vec::new();
                let write = || {
                    conditions.push(seen());
                    let done = conditions.len() > FAILURES;
                    async move { done.then_some(()).ok_or(StoreError::Unexpected("not yet")) }
                };
                write_with_retries(&health, part, pauses, write).await;
                answer(reply, conditions);
            };
            let mut writing = Some(PendingWrite::new(part, writing));
            assert_eq!(finished(&mut writing).await, part);
            assert!(writing.is_none());
            assert_eq!(condition(), up, "again");
            let behind = (
                "behind".into(),
                StoreError::Unexpected("not yet").to_string().into(),
            );
            let mut expected = vec![up];
            expected.resize(FAILURES + 1, behind);
            assert_eq!(found.await.unwrap(), expected);
        }
    }
}
