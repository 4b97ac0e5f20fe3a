//! The tasks that serve one client each: its TCP connection, its connection, what it asked for.

use std::{future::Future, sync::Arc};

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::abort::{Cut, Outcome};
use crate::telemetry::Metrics;

/// Runs these tasks, and waits for them when the node stops. Clones are one.
#[derive(Clone, Debug)]
pub(crate) struct ClientTasks {
    tracker: TaskTracker,
    cut: Cut,
    metrics: Arc<Metrics>,
}

impl ClientTasks {
    /// None yet.
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            tracker: TaskTracker::new(),
            cut: Cut::default(),
            metrics,
        }
    }

    /// Starts a task that runs until it is done or cut. A panic is this client's alone: it is counted, and
    /// nothing comes of the task.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        what: &'static str,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        // There are very many of these. A future that is made before it is awaited is held twice, and so is
        // one that is handed to another: this one is boxed, and the one around it made where it is awaited.
        let task = Box::pin(task);
        let (cut, metrics) = (self.cut.clone(), Arc::clone(&self.metrics));
        self.tracker.spawn(async move {
            match cut.end(task).await {
                Outcome::Done(done) => Some(done),
                Outcome::Cut => None,
                Outcome::Panicked(words) => {
                    tracing::error!(task = what, panic = words, "the task of a client panicked");
                    metrics.client_task_panicked(what);
                    None
                }
            }
        })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Waits until there is none any more.
    pub(crate) async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Ends whatever is left.
    pub(crate) fn cut(&self) {
        self.cut.now();
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
        tasks.cut();
        assert_eq!(other.await.unwrap(), None);
        tasks.ended().await;
        let line = "tidegate_client_task_panics_total{task=\"struck\"} 1";
        assert!(metrics.encode().lines().any(|found| found == line));
    }
}
