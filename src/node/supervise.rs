//! Supervision of the tasks of a node: a task that ends too early ends the node.
//!
//! An open socket on which nothing can arrive is the failure that this service exists to prevent. So every
//! task that serves more than one client is started here. The first that panics, or returns too early, is
//! reported to [`run`](super::run), which ends with an error at once. Clients continue on other nodes, from
//! where they are.

use std::future::{Future, pending};

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::http::{Abort, Outcome};

/// The end of a task without which the node cannot do its work.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the task \"{task}\" {how}: this node cannot work without it and ends")]
pub struct TaskFault {
    task: &'static str,
    how: String,
}

/// The watch over all tasks. Clones share it.
#[derive(Clone, Default, Debug)]
pub(super) struct Supervisor {
    first: watch::Sender<Option<TaskFault>>,
}

impl Supervisor {
    /// Creates a stage without tasks.
    pub(super) fn stage(&self) -> Stage {
        Stage {
            over: Abort::default(),
            tasks: TaskTracker::new(),
            supervisor: self.clone(),
        }
    }

    /// Waits for the first fault.
    pub(super) async fn fault(&self) -> TaskFault {
        let mut told = self.first.subscribe();
        let first = told.wait_for(Option::is_some).await;
        match first.ok().and_then(|first| first.clone()) {
            Some(fault) => fault,
            None => pending().await,
        }
    }

    /// Reports a fault. Only the first one counts: others may be its consequences.
    fn report(&self, fault: TaskFault) {
        tracing::error!("{fault}");
        self.first.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(fault);
            is_first
        });
    }
}

/// Tasks that end together, at one point of the stop. None may end earlier.
#[derive(Debug)]
pub(super) struct Stage {
    over: Abort,
    tasks: TaskTracker,
    supervisor: Supervisor,
}

impl Stage {
    /// Starts a task.
    pub(super) fn spawn(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        #[cfg(debug_assertions)]
        let task = super::fault_injection::exposed(name, task);
        let ending = self.over.clone().run(task);
        let supervisor = self.supervisor.clone();
        self.tasks.spawn(async move {
            let how = match ending.await {
                Outcome::Aborted => return,
                Outcome::Done(()) => "ended by itself".to_owned(),
                Outcome::Panicked(words) => format!("panicked ({words})"),
            };
            supervisor.report(TaskFault { task: name, how });
        });
    }

    /// Ends all tasks, and waits for that.
    pub(super) async fn end(&self) {
        self.over.trigger();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.over.trigger();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_that_ends_before_it_may_is_told() {
        for (how, said) in [
            ("panics", "the task \"struck\" panicked (oh)"),
            ("returns", "the task \"struck\" ended by itself"),
        ] {
            let supervisor = Supervisor::default();
            let (stage, other) = (supervisor.stage(), supervisor.stage());
            other.spawn("other", pending());
            stage.spawn("struck", async move { assert!(how == "returns", "oh") });
            let fault = supervisor.fault().await.to_string();
            assert!(fault.starts_with(said), "{fault}");
            stage.spawn("later", async {});
            stage.tasks.close();
            stage.tasks.wait().await;
            assert_eq!(supervisor.fault().await.to_string(), fault, "the first");
            other.end().await;
        }
    }

    #[tokio::test]
    async fn a_stage_that_ends_is_no_fault() {
        let supervisor = Supervisor::default();
        let stage = supervisor.stage();
        stage.spawn("waits", pending());
        stage.end().await;
        let dropped = supervisor.stage();
        let tasks = dropped.tasks.clone();
        dropped.spawn("waits", pending());
        drop(dropped);
        tasks.close();
        tasks.wait().await;
        assert_eq!(*supervisor.first.borrow(), None);
    }
}
