//! Receipts of deletes: the task that follows each delete to its last closed connection, and its handle.
//!
//! The task observes every right that ends in the router, in the feed's order: the deletes of subscriptions and keys, and
//! revocations, which count as deletes of what they name. One that ended connections is followed until all of
//! them are closed, which [`Closed`](crate::router::registry::Closed) proves. Then a receipt is written. If that takes
//! [`CLOSE_GRACE`] longer than a close may take, a receipt with the count so far is written first. A delete without
//! connections is only remembered, in bounded memory: nothing is written for it, since the node's next heartbeat proves
//! as much.
//!
//! One write of many receipts is under way at a time, and is repeated until it succeeds. What waits meanwhile is bounded.
//! Beyond that the oldest receipt is given up, which the node admits in its heartbeats: whoever asks is then told that it
//! is not known, not that there was nothing.

mod delete_history;
mod queue;
mod recent_deletes;
mod writer;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use self::writer::Writer;
pub(crate) use self::{
    delete_history::{DeleteHistory, delete_history},
    recent_deletes::LastDelete,
};
use crate::{
    access::Right,
    config,
    position::Position,
    router::{Observations, ObserverInbox},
    store::{DeleteProgress, Deletion, Store},
    telemetry::{Health, Metrics},
};

/// Requests that may wait. The task never waits for the database while it takes them.
const REQUESTS_AHEAD: usize = 4_096;
/// The time beyond `socket.close_timeout` after which a receipt says that a connection is not closed.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// A request to the task.
#[derive(Debug)]
enum Request {
    /// Adds a delete from before the load, found in the oplog.
    AddOld(Right, Deletion),
    /// Notes that all deletes after this position were added.
    OldAddedSince(Position),
    /// Asks for the last end of a right.
    Find(Right, oneshot::Sender<LastDelete>),
    /// Asks for the first delete without, and the last that never gets, its receipt.
    Unsettled(oneshot::Sender<(Option<Position>, Option<Position>)>),
    /// Asks to be told when everything that is followed now is written.
    WaitWritten(oneshot::Sender<()>),
}

/// A handle to the receipts of a node.
#[derive(Clone, Debug)]
pub(crate) struct Receipts {
    requests: mpsc::Sender<Request>,
}

impl Receipts {
    /// Adds a delete from before the load, found in the oplog.
    async fn add_old(&self, right: Right, deletion: Deletion) {
        self.send(Request::AddOld(right, deletion)).await;
    }

    /// Notes that all deletes after `since` and before the load were added.
    async fn old_added_since(&self, since: Position) {
        self.send(Request::OldAddedSince(since)).await;
    }

    /// Returns what this node knows of a right's last end; `None` if the task has ended.
    pub(crate) async fn find(&self, right: &Right) -> Option<LastDelete> {
        self.ask(|reply| Request::Find(right.clone(), reply)).await
    }

    /// Returns how far this node is with its deletes. `applied` is where the router was *before* this call: the task
    /// knows of every delete up to there.
    pub(crate) async fn progress(&self, applied: Option<Position>) -> DeleteProgress {
        match self.ask(Request::Unsettled).await {
            Some((unsettled, lost)) => DeleteProgress {
                applied,
                unsettled,
                lost,
            },
            None => DeleteProgress::default(),
        }
    }

    /// Waits until the receipts of all deletes so far are written; false if that took longer than `patience`.
    pub(crate) async fn all_written(&self, patience: Duration) -> bool {
        let written = timeout(patience, self.ask(Request::WaitWritten)).await;
        matches!(written, Ok(Some(())))
    }

    async fn send(&self, request: Request) {
        if self.requests.send(request).await.is_err() {
            tracing::debug!("the task that writes receipts has ended");
        }
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.send(request(reply)).await;
        answer.await.ok()
    }
}

/// Returns a handle, and the task that writes the receipts of `node`.
pub(crate) fn receipts(
    store: Store,
    node: String,
    observations: Observations,
    config: &config::Config,
    metrics: Arc<Metrics>,
    health: Health,
) -> (Receipts, impl Future<Output = ()> + use<>) {
    let (requests, received) = mpsc::channel(REQUESTS_AHEAD);
    let writer = Writer::new(store, node, config, metrics, health);
    let inbox = ObserverInbox::new(observations, received);
    (Receipts { requests }, writer.run(inbox))
}
