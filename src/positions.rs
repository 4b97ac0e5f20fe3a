//! Positions of durable subscriptions: the task that keeps and writes them, and the handle to it.
//!
//! The router tells it which durable subscriptions there are, in the feed's order; connections tell it
//! what was acknowledged. Beginnings and ends are written at once, acknowledgements after
//! `feed.ack_delay` together, and sooner when a connection ends. One write is under way at a time and is
//! repeated until it succeeds; what comes meanwhile waits for the next. What waits is bounded by the
//! number of subscriptions: each has one position.

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
    store::{Store, StoreError},
    subscription::SubscriptionId,
    telemetry::{Health, Metrics},
};

/// Messages that may wait. The task never waits for the database while it takes them.
const MESSAGES: usize = 4_096;
/// How long a connection waits for the beginning of its subscription to be written.
const PATIENCE: Duration = Duration::from_secs(5);

/// The subscription that a position belongs to. Another one may follow under the same id: it is newer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Owner {
    /// Its id.
    pub id: SubscriptionId,
    /// Where it was made, as this node's router saw it.
    pub since: Position,
}

/// What the task can be told.
#[derive(Debug)]
enum Message {
    /// A durable subscription was seen to begin.
    Begun(Owner, Position),
    /// It was deleted, or is no longer durable.
    Ended(SubscriptionId, Position),
    /// Whatever was stored is gone.
    Lost,
    /// All durable subscriptions at one point.
    Whole(Vec<Owner>, Position),
    /// A client of this subscription has handled everything up to here.
    Acknowledged(Owner, Position),
    /// What waits is to be written now.
    Flush,
    /// The furthest position known here; `None` if the subscription is not durable.
    Known(String, oneshot::Sender<Option<Position>>),
    /// Tells when everything that waits now is written.
    Written(Everything, oneshot::Sender<()>),
}

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Everything {
    /// Beginnings and ends.
    Structure,
    /// Acknowledgements too.
    All,
}

/// The way to the positions of a node.
#[derive(Clone, Debug)]
pub(crate) struct Positions {
    messages: mpsc::Sender<Message>,
    store: Store,
}

impl Positions {
    /// A durable subscription began: its insert, or the change that made it durable, is `at`.
    pub(crate) async fn begun(&self, owner: Owner, at: Position) {
        self.tell(Message::Begun(owner, at)).await;
    }

    /// A durable subscription was deleted, or is no longer durable, from `at` on.
    pub(crate) async fn ended(&self, id: SubscriptionId, at: Position) {
        self.tell(Message::Ended(id, at)).await;
    }

    /// Whatever was stored is gone; what is known here is stored again.
    pub(crate) async fn lost(&self) {
        self.tell(Message::Lost).await;
    }

    /// These are all durable subscriptions at `at`.
    pub(crate) async fn whole(&self, owners: Vec<Owner>, at: Position) {
        self.tell(Message::Whole(owners, at)).await;
    }

    /// Everything up to `at` was handled; false if the task is too busy to hear it now. Nothing comes of it
    /// where the subscription was deleted, and another one has the id by now.
    pub(crate) fn acknowledged(&self, owner: &Owner, at: Position) -> bool {
        self.messages
            .try_send(Message::Acknowledged(owner.clone(), at))
            .is_ok()
    }

    /// Like [`Positions::acknowledged`], and what waits is written now.
    pub(crate) async fn flush(&self, owner: &Owner, at: Option<Position>) {
        if let Some(at) = at {
            self.tell(Message::Acknowledged(owner.clone(), at)).await;
        }
        self.tell(Message::Flush).await;
    }

    /// Where a client of this subscription goes on that does not say where it is: the furthest
    /// position that any node has written or this one knows. `None` if it is not durable.
    pub(crate) async fn resume(&self, id: &str) -> Result<Option<Cursor>, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.tell(Message::Known(id.to_owned(), reply)).await;
        let Some(known) = answer.await.ok().flatten() else {
            return Ok(None);
        };
        let mut stored = self.store.find_position(id).await?;
        if stored.is_none() {
            // It was only just found: its beginning is being written.
            self.structure_written(PATIENCE).await;
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

    /// Waits until the beginnings and ends that the router has told of are written; false if that
    /// took longer than `patience`.
    pub(crate) async fn structure_written(&self, patience: Duration) -> bool {
        self.written(Everything::Structure, patience).await
    }

    /// Waits until everything is written.
    pub(crate) async fn all_written(&self, patience: Duration) -> bool {
        self.written(Everything::All, patience).await
    }

    async fn written(&self, what: Everything, patience: Duration) -> bool {
        let (reply, answer) = oneshot::channel();
        let waiting = async {
            self.tell(Message::Written(what, reply)).await;
            answer.await.is_ok()
        };
        timeout(patience, waiting).await.unwrap_or(false)
    }

    async fn tell(&self, message: Message) {
        if self.messages.send(message).await.is_err() {
            tracing::debug!("the positions' task has ended");
        }
    }
}

/// The task that owns the positions, and the handle to it.
pub(crate) fn positions(
    store: Store,
    settings: &config::Feed,
    metrics: Arc<Metrics>,
    health: Health,
) -> (Positions, impl Future<Output = ()> + use<>) {
    let (messages, received) = mpsc::channel(MESSAGES);
    let handle = Positions {
        messages,
        store: store.clone(),
    };
    (
        handle,
        Writer::new(store, settings, metrics, health).run(received),
    )
}
