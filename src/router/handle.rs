//! The handle by which everyone else talks to the router.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bson::{DateTime, RawDocument, Timestamp};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::{
    Counted, Input, Occupancy, PastBatch, Settings, SharedCredentials, Withheld,
    credentials::near,
    outbox::{self, Receiver},
    outbox_bounds,
    registry::SessionKey,
};
use crate::{
    access::{Caller, KeysChange, Refusal, Sight},
    position::{DeploymentId, Position},
    protocol::{Dialect, Ending},
    subscription::{CompiledSubscription, DocumentKey},
};

/// The router's progress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Applied {
    /// Everything up to here is applied.
    pub position: Position,
    /// True once the initial load is applied.
    pub loaded: bool,
    /// True once this node stops.
    pub stopping: bool,
    /// The number of subscriptions that are invalid because their filters could not be matched with an event.
    pub unmatchable: usize,
    /// The number of stored policies that cannot be used.
    pub broken_policies: usize,
    /// The numbers of keys, policies and revocations for which there is no room.
    pub withheld_credentials: Withheld,
}

impl Default for Applied {
    fn default() -> Self {
        Self {
            position: Position::START,
            loaded: false,
            stopping: false,
            unmatchable: 0,
            broken_policies: 0,
            withheld_credentials: Withheld::default(),
        }
    }
}

/// The router did not answer within `limits.router_timeout`, or is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the router of this node is too busy to answer now")]
pub(crate) struct Busy;

/// One channel, for operators.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// The id of its session.
    pub id: String,
    pub dialect: Dialect,
    /// The client's name for it, where a session has many.
    pub handle: Option<Box<str>>,
    /// The client's address.
    pub remote: String,
    pub opened_at: SystemTime,
    /// True while it catches up.
    pub replaying: bool,
    /// Messages in the outbox of its session.
    pub waiting_frames: usize,
}

/// A handle to the router's task.
#[derive(Clone, Debug)]
pub(crate) struct RouterHandle {
    inputs: mpsc::Sender<Input>,
    applied: watch::Receiver<Applied>,
    expiring: watch::Receiver<Option<DateTime>>,
    occupied: watch::Receiver<Occupancy>,
    credentials: SharedCredentials,
    deployment: DeploymentId,
    bounds: outbox::Bounds,
    /// The longest wait for an answer.
    patience: Duration,
}

impl RouterHandle {
    pub(super) fn new(
        inputs: mpsc::Sender<Input>,
        applied: watch::Receiver<Applied>,
        expiring: watch::Receiver<Option<DateTime>>,
        occupied: watch::Receiver<Occupancy>,
        credentials: SharedCredentials,
        settings: &Settings,
    ) -> Self {
        Self {
            inputs,
            applied,
            expiring,
            occupied,
            credentials,
            deployment: settings.deployment,
            bounds: outbox_bounds(&settings.socket),
            patience: settings.limits.router_timeout,
        }
    }

    /// Returns the deployment that cursors name.
    pub(crate) fn deployment(&self) -> DeploymentId {
        self.deployment
    }

    /// Returns the credentials as the router has applied them.
    pub(crate) fn credentials(&self) -> &SharedCredentials {
        &self.credentials
    }

    /// Returns the router's progress.
    pub(crate) fn progress(&self) -> Applied {
        *self.applied.borrow()
    }

    /// Returns the occupancy of this node by subscriptions, now and later.
    pub(crate) fn occupancy(&self) -> watch::Receiver<Occupancy> {
        self.occupied.clone()
    }

    /// Returns the time at which the next subscription expires, as the router knows it now and later.
    pub(crate) fn expiring(&self) -> watch::Receiver<Option<DateTime>> {
        self.expiring.clone()
    }

    /// Waits until everything committed up to `time` is applied; false if that took longer than
    /// `patience`. Being at `time` is not enough: what was committed then may come behind that.
    pub(crate) async fn applied(&self, time: Timestamp, patience: Duration) -> bool {
        let before = Position::at(time);
        self.until(patience, |applied| {
            applied.loaded && applied.position > before
        })
        .await
    }

    /// Waits until the initial load is applied.
    pub(crate) async fn loaded(&self, patience: Duration) -> bool {
        self.until(patience, |applied| applied.loaded).await
    }

    /// Waits until the initial load is applied, however long that takes.
    pub(crate) async fn until_loaded(&self) {
        let mut applied = self.applied.clone();
        if applied.wait_for(|applied| applied.loaded).await.is_err() {
            tracing::debug!("the router ended before it had loaded");
        }
    }

    /// Waits until this node stops (`None`), or a caller's credential does not stand any more. For those whose session is
    /// no longer registered: nobody else tells them.
    pub(crate) async fn stopping_or_refused(&self, caller: &Caller) -> Option<Refusal> {
        let mut applied = self.applied.clone();
        loop {
            let stopping = applied.borrow_and_update().stopping;
            let end = match self.credentials.judge(caller) {
                Err(refusal) => return Some(refusal),
                Ok(_) if stopping => return None,
                Ok(end) => end,
            };
            tokio::select! {
                // A router that is gone has stopped.
                changed = applied.changed() => changed.ok()?,
                () = near(end) => {}
            }
        }
    }

    async fn until(&self, patience: Duration, reached: impl FnMut(&Applied) -> bool) -> bool {
        let mut applied = self.applied.clone();
        matches!(
            timeout(patience, applied.wait_for(reached)).await,
            Ok(Ok(_))
        )
    }

    /// Returns a new outbox within this node's bounds.
    pub(crate) fn outbox(&self) -> (outbox::Sender, Receiver) {
        outbox::outbox(self.bounds)
    }

    /// Tells the registry that a session has found a reason to end. The registry's verdict, this or an earlier one,
    /// comes through the outbox. False if the router is closed: nothing comes then.
    pub(crate) async fn end_session(&self, key: SessionKey, ending: Ending) -> bool {
        let input = Input::EndSession(key, ending);
        self.inputs.send(input).await.is_ok()
    }

    /// Tells that keys of an issuer of tokens came or left. False if the router is closed.
    pub(crate) async fn keys_changed(&self, change: KeysChange) -> bool {
        let input = Input::KeysChanged(change);
        self.inputs.send(input).await.is_ok()
    }

    /// Waits until another number of subscriptions than `known` is invalid since their filters could not be
    /// matched; for ever if the router is gone.
    pub(crate) async fn unmatchable(&self, known: usize) -> usize {
        let mut applied = self.applied.clone();
        let changed = applied
            .wait_for(|applied| applied.unmatchable != known)
            .await;
        let Ok(unmatchable) = changed.map(|applied| applied.unmatchable) else {
            return std::future::pending().await;
        };
        unmatchable
    }

    /// Waits until another number of policies than `known` cannot be used; for ever if the router is gone.
    pub(crate) async fn broken_policies(&self, known: usize) -> usize {
        let mut applied = self.applied.clone();
        let changed = applied
            .wait_for(|applied| applied.broken_policies != known)
            .await;
        let Ok(broken) = changed.map(|applied| applied.broken_policies) else {
            return std::future::pending().await;
        };
        broken
    }

    /// Waits until other numbers of credentials than `known` find no room, by kind; for ever if the router is gone.
    pub(crate) async fn withheld_credentials(&self, known: Withheld) -> Withheld {
        let mut applied = self.applied.clone();
        let changed = applied
            .wait_for(|applied| applied.withheld_credentials != known)
            .await;
        let Ok(withheld) = changed.map(|applied| applied.withheld_credentials) else {
            return std::future::pending().await;
        };
        withheld
    }

    /// Extends the backlog by everything between `from` and its start, in order, as far as there is room. Returns the
    /// start of the backlog then.
    pub(crate) async fn extend_backlog(
        &self,
        from: Position,
        batches: Vec<Arc<PastBatch>>,
    ) -> Result<Position, Busy> {
        self.ask(|reply| Input::ExtendBacklog(from, batches, reply))
            .await
    }

    /// Takes no session any more because this node stops, and ends so many of the open ones; returns the number that
    /// is left. Waits however long that takes: a stop has a deadline of its own.
    pub(crate) async fn stop(&self, most: usize) -> usize {
        self.ask_within(Duration::MAX, |reply| Input::Stop(most, reply))
            .await
            .unwrap_or_default()
    }

    /// Whether exactly this subscription document is applied.
    pub(crate) async fn knows(&self, document: &RawDocument) -> Result<bool, Busy> {
        let document = document.to_owned();
        self.ask(|reply| Input::Knows(document, reply)).await
    }

    /// Whether there is a subscription of this id in sight.
    pub(crate) async fn has(&self, id: &str, sight: &Sight) -> Result<bool, Busy> {
        let (id, sight) = (id.to_owned(), sight.clone());
        self.ask(|reply| Input::Has(id, sight, reply)).await
    }

    /// Returns subscriptions in the same order, with the faults that this node finds: another document may stand in
    /// the way of one that is sound by itself.
    pub(crate) async fn judge(
        &self,
        read: Vec<CompiledSubscription>,
    ) -> Result<Vec<CompiledSubscription>, Busy> {
        self.ask(|reply| Input::Judge(read, reply)).await
    }

    /// Returns the keys of invalid subscriptions in order, after one, at most `limit`. If the sight has a tenant, they are
    /// those of the tenant; the documents decide about the rest of it.
    pub(crate) async fn invalid(
        &self,
        sight: &Sight,
        after: Option<DocumentKey>,
        limit: usize,
    ) -> Result<Vec<DocumentKey>, Busy> {
        let sight = sight.clone();
        self.ask(|reply| Input::Invalid(sight, after, limit, reply))
            .await
    }

    /// Returns the number of subscriptions of a tenant or a key, and which of these ids are known, at one point.
    pub(crate) async fn holdings(
        &self,
        counted: Counted,
        ids: Vec<Box<str>>,
    ) -> Result<(usize, Vec<bool>), Busy> {
        self.ask(|reply| Input::Holdings(counted, ids, reply)).await
    }

    /// Returns the ids of the keys that open sessions of this node hang on.
    pub(crate) async fn keys_in_use(&self) -> Result<Vec<Box<str>>, Busy> {
        self.ask(Input::KeysInUse).await
    }

    /// Returns the channels of a subscription on this node, as far as their sessions are of the tenant in sight; `None` if
    /// it is unknown or out of sight.
    pub(crate) async fn connections(
        &self,
        id: &str,
        sight: &Sight,
    ) -> Result<Option<Vec<Connection>>, Busy> {
        let (id, sight) = (id.to_owned(), sight.clone());
        self.ask(|reply| Input::Connections(id, sight, reply)).await
    }

    /// Sends an input that is not answered; false if the router is closed.
    pub(super) async fn send(&self, input: Input) -> bool {
        self.inputs.send(input).await.is_ok()
    }

    /// Waits until everything up to a position is applied, however long that takes.
    pub(crate) async fn reached(&self, position: Position) {
        let mut applied = self.applied.clone();
        let reached = applied.wait_for(|applied| applied.position >= position);
        if reached.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) async fn ask<T>(
        &self,
        input: impl FnOnce(oneshot::Sender<T>) -> Input,
    ) -> Result<T, Busy> {
        self.ask_within(self.patience, input).await
    }

    pub(super) async fn ask_within<T>(
        &self,
        patience: Duration,
        input: impl FnOnce(oneshot::Sender<T>) -> Input,
    ) -> Result<T, Busy> {
        let (reply, answer) = oneshot::channel();
        let answered = async {
            self.inputs.send(input(reply)).await.map_err(|_| Busy)?;
            answer.await.map_err(|_| Busy)
        };
        timeout(patience, answered).await.unwrap_or(Err(Busy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config,
        router::{Attach, AttachError},
    };

    fn time(increment: u32) -> Timestamp {
        Timestamp { time: 5, increment }
    }

    fn settings() -> Settings {
        Settings {
            deployment: DeploymentId([0; 6]),
            database: String::new(),
            narrows: true,
            quotas: config::Quotas::default(),
            limits: config::Limits::default(),
            socket: config::Socket::default(),
            feed: config::Feed::default(),
        }
    }

    /// A router that takes no input, or takes it and does not answer.
    #[tokio::test(start_paused = true)]
    async fn every_question_to_a_router_that_is_too_busy_ends_as_such() {
        for inputs_ahead in [1, 64] {
            let (inputs, _kept) = mpsc::channel(inputs_ahead);
            let (_applied, watching) = watch::channel(Applied::default());
            let (_, expiring) = watch::channel(None);
            let (_, occupied) = watch::channel(Occupancy::default());
            let handle = RouterHandle::new(
                inputs,
                watching,
                expiring,
                occupied,
                SharedCredentials::new(crate::access::Credentials::new(true)),
                &settings(),
            );
            let (outbox, _receiver) = handle.outbox();
            let attach = Attach {
                id: String::new(),
                caller: Arc::new(Caller::anybody()),
                outbox,
                dialect: Dialect::Tidegate,
                after: None,
                acknowledged: false,
                close_on_gap: false,
                remote: String::new(),
                closed: crate::router::registry::AliveGuard::new().1,
            };
            let refused = handle.attach(attach).await.map(drop);
            assert_eq!(refused, Err(AttachError::Busy(Busy)));
            assert_eq!(handle.has("a", &Sight::EVERYTHING).await, Err(Busy));
            assert_eq!(
                handle
                    .knows(RawDocument::from_bytes(&[5, 0, 0, 0, 0]).unwrap())
                    .await,
                Err(Busy)
            );
            assert_eq!(handle.invalid(&Sight::EVERYTHING, None, 1).await, Err(Busy));
            let connections = handle.connections("a", &Sight::EVERYTHING).await;
            assert_eq!(connections.map(drop), Err(Busy));
            assert_eq!(
                handle.extend_backlog(Position::START, Vec::new()).await,
                Err(Busy)
            );
        }
    }

    /// Checks whether a change committed at `time` counts as applied by a router at `position`.
    async fn check(position: Position, time: Timestamp, expected: bool) {
        let (inputs, _) = mpsc::channel(1);
        let (_applied, watching) = watch::channel(Applied {
            position,
            loaded: true,
            ..Applied::default()
        });
        let (_, expiring) = watch::channel(None);
        let (_, occupied) = watch::channel(Occupancy::default());
        let handle = RouterHandle::new(
            inputs,
            watching,
            expiring,
            occupied,
            SharedCredentials::new(crate::access::Credentials::new(true)),
            &settings(),
        );
        let applied = handle.applied(time, Duration::ZERO).await;
        assert_eq!(applied, expected, "{position:?} {time}");
    }

    #[tokio::test]
    async fn what_comes_behind_a_position_is_not_applied_there() {
        // A load at 7 leaves the feed before 8, whose change may still come.
        check(Position::at(time(8)), time(7), true).await;
        check(Position::at(time(8)), time(8), false).await;
        let change = "8200000005000000082B022C0100296E5A1004";
        let change = Position::from_token_data(change).unwrap();
        check(change, time(8), true).await;
        check(change, time(9), false).await;
    }
}
