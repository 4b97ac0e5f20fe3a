//! The tasks that serve one client each: its TCP connection, its connection, its request.

use std::{future::Future, sync::Arc};

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::abort::{Abort, Outcome};
use crate::telemetry::Metrics;

/// Runs the tasks of clients, and waits for them when the node stops. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct ClientTasks {
    tracker: TaskTracker,
    abort: Abort,
    metrics: Arc<Metrics>,
}

impl ClientTasks {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            tracker: TaskTracker::new(),
            abort: Abort::default(),
            metrics,
        }
    }

    /// Starts a task that runs until it is done or aborted. A panic concerns only this client: it is counted, and the
    /// task has no result.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        what: &'static str,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        // There are very many of these tasks. A future that is made before it is awaited is stored twice, and so is
        // one that is passed on. So this one is boxed, and the one around it is made where it is awaited.
        let task = Box::pin(task);
        let (abort, metrics) = (self.abort.clone(), Arc::clone(&self.metrics));
        self.tracker.spawn(async move {
            match abort.run(task).await {
                Outcome::Done(done) => Some(done),
                Outcome::Aborted => None,
                Outcome::Panicked(message) => {
                    tracing::error!(task = what, panic = message, "a client's task panicked");
                    metrics.http.client_task_panicked(what);
                    None
                }
            }
        })
    }

    /// Returns the number of tasks that run.
    pub(crate) fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether no task runs.
    pub(crate) fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Waits until no task runs.
    pub(crate) async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Ends the tasks that still run.
    pub(crate) fn abort(&self) {
        self.abort.trigger();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_counted_and_the_others_go_on() {
        let metrics = Arc::new(Metrics::default());
        let tasks = ClientTasks::new(Arc::clone(&metrics));
        let other = tasks.spawn("other", std::future::pending::<()>());
        let struck = tasks.spawn("struck", async { panic!("oh") });
        assert_eq!(struck.await.unwrap(), None::<()>);
        assert_eq!(tasks.spawn("done", async { 5 }).await.unwrap(), Some(5));
        assert_eq!(tasks.len(), 1);
        tasks.abort();
        assert_eq!(other.await.unwrap(), None);
        tasks.ended().await;
        let line = "tidegate_client_task_panics_total{task=\"struck\"} 1";
        assert!(metrics.encode().lines().any(|found| found == line));
    }
}
