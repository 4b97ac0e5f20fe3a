//! What this node did about deletes: the task that follows each to its last socket and writes a receipt, and
//! the handle to it.
//!
//! The router tells it of every delete, in the feed's order. One that ended connections is followed: each
//! connection's task holds an [`AliveGuard`] until it is gone, and with it the socket. When the last is gone (and after
//! [`PATIENCE`] beyond the close's own deadline, with the count so far) a receipt is written. A delete without connections
//! is only remembered, in bounded memory: nothing is written for it, since the node's next sign of life
//! proves as much.
//!
//! One write of many receipts is under way at a time, and is repeated until it succeeds. What waits meanwhile is bounded;
//! beyond that the oldest receipt is given up, which the node admits in its signs of life: whoever
//! asks is then told that it is not known, not that there was nothing.

mod following;
mod memory;
mod waiting;
mod writer;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use self::memory::Remembered;
use self::writer::Writer;
use crate::{
    config,
    position::Position,
    store::{DeleteProgress, Deletion, Store},
    subscription::SubscriptionId,
    telemetry::{Health, Metrics},
};

/// Messages that may wait. The task never waits for the database while it takes them.
const MESSAGES: usize = 4_096;
/// How long a closing connection may take beyond `socket.close_timeout` before a receipt says that it is not gone.
const PATIENCE: Duration = Duration::from_secs(1);

/// Held by a connection's task as long as there is a socket. Its end is its drop, whatever the task ended by.
#[derive(Debug)]
pub(crate) struct AliveGuard(#[expect(dead_code, reason = "its drop is what counts")] DropGuard);

/// Resolves when its [`AliveGuard`] is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Closed(CancellationToken);

impl AliveGuard {
    /// Returns a guard, and what resolves when the guard is dropped.
    pub(crate) fn new() -> (Self, Closed) {
        let token = CancellationToken::new();
        (Self(token.clone().drop_guard()), Closed(token))
    }
}

/// A delete that ended connections.
#[derive(Debug)]
pub(crate) struct Teardown {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Its delete.
    pub deletion: Deletion,
    /// The connections that were told to end.
    pub connections: Vec<Closed>,
}

/// What the task can be told.
#[derive(Debug)]
enum Message {
    /// All subscriptions are known from here on.
    Loaded(Position),
    /// One was deleted.
    Deleted(Teardown, Instant),
    /// One was deleted before all that the router told of.
    Recalled(SubscriptionId, Deletion),
    /// The deletes from here on are recalled.
    RecalledSince(Position),
    /// The last delete of a subscription.
    Find(String, oneshot::Sender<Remembered>),
    /// The first delete without, and the last that never gets, its receipt.
    Unsettled(oneshot::Sender<(Option<Position>, Option<Position>)>),
    /// Tells when everything that is followed now is written.
    Written(oneshot::Sender<()>),
}

/// The way to the receipts of a node.
#[derive(Clone, Debug)]
pub(crate) struct Receipts {
    messages: mpsc::Sender<Message>,
}

impl Receipts {
    /// All subscriptions are loaded at `at`: every delete after that is told.
    pub(crate) async fn loaded(&self, at: Position) {
        self.tell(Message::Loaded(at)).await;
    }

    /// A subscription was deleted, and its connections were told to end.
    pub(crate) async fn deleted(&self, teardown: Teardown) {
        self.tell(Message::Deleted(teardown, Instant::now())).await;
    }

    /// A delete of the time before the load was found in the history.
    pub(crate) async fn recalled(&self, subscription: SubscriptionId, deletion: Deletion) {
        self.tell(Message::Recalled(subscription, deletion)).await;
    }

    /// All deletes after `since` and before the load were found.
    pub(crate) async fn recalled_since(&self, since: Position) {
        self.tell(Message::RecalledSince(since)).await;
    }

    /// What this node remembers of a subscription's last delete.
    pub(crate) async fn find(&self, subscription: &str) -> Option<Remembered> {
        self.ask(|reply| Message::Find(subscription.to_owned(), reply))
            .await
    }

    /// How far this node is; `applied` is where the router was *before* this was asked, so that the
    /// task knows of every delete up to there.
    pub(crate) async fn progress(&self, applied: Option<Position>) -> DeleteProgress {
        match self.ask(Message::Unsettled).await {
            Some((unsettled, lost)) => DeleteProgress {
                applied,
                unsettled,
                lost,
            },
            None => DeleteProgress::default(),
        }
    }

    /// Waits until the receipts of all deletes so far are written; false if that took longer than
    /// `patience`.
    pub(crate) async fn all_written(&self, patience: Duration) -> bool {
        let written = timeout(patience, self.ask(Message::Written)).await;
        matches!(written, Ok(Some(())))
    }

    async fn tell(&self, message: Message) {
        if self.messages.send(message).await.is_err() {
            tracing::debug!("the receipts' task has ended");
        }
    }

    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.tell(message(reply)).await;
        answer.await.ok()
    }
}

/// The task that writes the receipts of `node`, and the handle to it.
pub(crate) fn receipts(
    store: Store,
    node: String,
    config: &config::Config,
    metrics: Arc<Metrics>,
    health: Health,
) -> (Receipts, impl Future<Output = ()> + use<>) {
    let (messages, received) = mpsc::channel(MESSAGES);
    let writer = Writer::new(store, node, config, metrics, health);
    (Receipts { messages }, writer.run(received))
}
