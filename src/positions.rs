//! The acknowledged positions of durable subscriptions: the task that keeps and writes them, and its handle.
//!
//! The task observes the router, and so knows which durable subscriptions there are. Sessions tell it what was
//! acknowledged. Whoever asks it about something that the router has applied finds that known here
//! ([`ObserverInbox`]).
//!
//! Beginnings and ends of durable subscriptions are written at once. Acknowledgements are written together after
//! `feed.ack_delay`, and sooner when a session ends. One write is under way at a time and is repeated until it
//! succeeds; what comes meanwhile waits for the next. What waits is bounded by the number of subscriptions: each has
//! one position.

mod pending;
mod writer;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

#[cfg(test)]
pub(crate) use self::pending::Pending;
use self::writer::Writer;
use crate::{
    config,
    position::{Cursor, Position},
    router::{Incarnation, Observations, ObserverInbox},
    store::{Store, StoreError},
    telemetry::{Health, Metrics},
};

/// Requests that may wait. The task never waits for the database while it takes them.
const REQUESTS_AHEAD: usize = 4_096;
/// The longest wait of a session for the beginning of its subscription to be written.
const BEGINNING_PATIENCE: Duration = Duration::from_secs(5);

/// A request to the task.
#[derive(Debug)]
enum Request {
    /// A client of this subscription has handled everything up to here.
    Acknowledge(Incarnation, Position),
    /// Asks for what waits to be written now.
    Flush,
    /// Asks for the furthest position known here; `None` if the subscription is not durable.
    Find(String, oneshot::Sender<Option<Position>>),
    /// Asks to be told when everything in the scope that waits now is written.
    WaitWritten(Scope, oneshot::Sender<()>),
}

/// The part of what waits that has to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scope {
    /// Beginnings and ends of durable subscriptions.
    Structure,
    /// Acknowledgements too.
    All,
}

/// A handle to the positions of a node.
#[derive(Clone, Debug)]
pub(crate) struct Positions {
    requests: mpsc::Sender<Request>,
    store: Store,
}

impl Positions {
    /// Notes that everything up to `at` was handled; false if the task is too busy to hear it now. Nothing comes of it
    /// if the subscription was deleted, and another one has its id by now.
    pub(crate) fn acknowledge(&self, incarnation: &Incarnation, at: Position) -> bool {
        self.requests
            .try_send(Request::Acknowledge(incarnation.clone(), at))
            .is_ok()
    }

    /// Acknowledges `at`, and asks for what waits to be written now.
    pub(crate) async fn flush(&self, incarnation: &Incarnation, at: Option<Position>) {
        if let Some(at) = at {
            self.send(Request::Acknowledge(incarnation.clone(), at))
                .await;
        }
        self.send(Request::Flush).await;
    }

    /// Returns the position from which a client goes on that does not name one: the furthest that any node has
    /// written or this node knows. `None` if the subscription is not durable.
    pub(crate) async fn resume(&self, id: &str) -> Result<Option<Cursor>, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Find(id.to_owned(), reply)).await;
        let Some(known) = answer.await.ok().flatten() else {
            return Ok(None);
        };
        let mut stored = self.store.find_position(id).await?;
        if stored.is_none() {
            // It is new here, and its beginning is being written.
            self.structure_written(BEGINNING_PATIENCE).await;
            stored = self.store.find_position(id).await?;
        }
        let here = Cursor {
            deployment: self.store.deployment(),
            position: known,
        };
        Ok(match stored {
            Some(stored) if stored.deployment == here.deployment => Some(Cursor {
                position: stored.position.max(known),
                ..here
            }),
            Some(foreign) if known == Position::START => Some(foreign),
            Some(_) => Some(here),
            None => (known > Position::START).then_some(here),
        })
    }

    /// Waits until the beginnings and ends that the router has published are written; false if that took longer than
    /// `patience`.
    pub(crate) async fn structure_written(&self, patience: Duration) -> bool {
        self.written(Scope::Structure, patience).await
    }

    /// Waits until everything is written; false if that took longer than `patience`.
    pub(crate) async fn all_written(&self, patience: Duration) -> bool {
        self.written(Scope::All, patience).await
    }

    async fn written(&self, scope: Scope, patience: Duration) -> bool {
        let (reply, answer) = oneshot::channel();
        let waiting = async {
            self.send(Request::WaitWritten(scope, reply)).await;
            answer.await.is_ok()
        };
        timeout(patience, waiting).await.unwrap_or(false)
    }

    async fn send(&self, request: Request) {
        if self.requests.send(request).await.is_err() {
            tracing::debug!("the task that keeps positions has ended");
        }
    }
}

/// Returns a handle, and the task that keeps the positions.
pub(crate) fn positions(
    store: Store,
    observations: Observations,
    settings: &config::Feed,
    metrics: Arc<Metrics>,
    health: Health,
) -> (Positions, impl Future<Output = ()> + use<>) {
    let (requests, received) = mpsc::channel(REQUESTS_AHEAD);
    let handle = Positions {
        requests,
        store: store.clone(),
    };
    let writer = Writer::new(store, settings, metrics, health);
    let inbox = ObserverInbox::new(observations, received);
    (handle, writer.run(inbox))
}
