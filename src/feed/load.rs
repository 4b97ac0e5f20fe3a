//! Loading all subscriptions.

use std::sync::Arc;

use bson::Timestamp;
use tokio::sync::oneshot;

use super::{
    Follower, Interrupted, assembly::Assembly, backoff::Backoff, resume_point::ResumePoint,
};
use crate::{
    access::Credentials,
    position::Position,
    protocol::GapReason,
    router::{FromFeed, Reload, Table},
    store::StoreError,
};

/// The reason why all subscriptions are loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LoadReason {
    /// The feed has just started.
    Start,
    /// Another collection took the place of the subscriptions.
    Replaced,
    /// The history between two positions is lost.
    HistoryLost,
}

impl LoadReason {
    pub(super) const fn cause(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Replaced => "renamed_onto",
            Self::HistoryLost => "history_lost",
        }
    }
}

/// All subscriptions and credentials at a time.
type Loaded = (Timestamp, Box<Table>, Credentials);

impl Follower<'_> {
    /// Loads all subscriptions at one point in time, and returns once the router has applied them: until then,
    /// nothing may be reported that is true only afterwards. `Some` if the router is gone.
    pub(super) async fn load(
        &self,
        load: LoadReason,
        resume: &mut ResumePoint,
        backoff: &mut Backoff,
    ) -> Option<Interrupted> {
        if load == LoadReason::HistoryLost {
            // If the history is lost again and again, this must not become a busy loop.
            backoff.wait().await;
        }
        let (time, table, credentials) = self.snapshot(resume.position, backoff).await;
        let (subscriptions, cause) = (table.len(), load.cause());
        let at = Position::at(time).moment();
        tracing::info!(subscriptions, at, cause, "subscriptions are loaded");
        self.feed.metrics.feed.reloaded(cause);
        match load {
            // Nothing is missing: the stream goes on where it is.
            LoadReason::Replaced => resume.loaded_ahead(time),
            LoadReason::Start | LoadReason::HistoryLost => resume.start_at(time),
        }
        let (applied, applying) = oneshot::channel();
        let reload = Reload {
            subscriptions: table,
            credentials: Box::new(credentials),
            position: resume.position,
            missed: (load == LoadReason::HistoryLost).then_some(GapReason::HistoryLost),
            applied,
        };
        let sent = self.feed.router.send(FromFeed::Reload(reload)).await;
        let gone = sent.is_err() || applying.await.is_err();
        gone.then_some(Interrupted::RouterGone)
    }

    /// Returns all subscriptions at a time not before `position`. The member of the replica set that is read may be
    /// behind the one that the stream was read from.
    async fn snapshot(&self, position: Position, backoff: &mut Backoff) -> Loaded {
        loop {
            match self.read_all().await {
                Ok(loaded) if loaded.0 >= position.cluster_time() => return loaded,
                Ok(_) => tracing::debug!(
                    "the loaded subscriptions are older than the feed; loading again"
                ),
                Err(error) => {
                    tracing::warn!(%error, "the subscriptions cannot be loaded yet");
                    self.report_disconnected();
                }
            }
            backoff.wait().await;
        }
    }

    async fn read_all(&self) -> Result<Loaded, StoreError> {
        let mut assembly = None;
        let none = || Credentials::with_room(self.feed.narrows, self.feed.credentials_bytes);
        let mut credentials = none();
        let start = |of_then: Credentials| {
            let policies = Arc::clone(of_then.policies());
            credentials = of_then;
            let (documents, new) = Assembly::start(&self.feed.limits, self.feed.capacity, policies);
            assembly = Some(new);
            documents
        };
        let time = self.feed.store.load(none, start).await;
        // Always awaited: a panic while the table is built must not pass for a failed read.
        let table = match assembly {
            Some(assembly) => assembly.table().await,
            None => Ok(Box::default()),
        };
        Ok((time?, table?, credentials))
    }
}
