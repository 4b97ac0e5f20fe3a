//! The router: one task that applies the feed in order.
//!
//! It owns the subscriptions, the filter index, and the registry of sessions and channels. This file has the task, and
//! what it does with a batch of changes; the inputs of others are served in the files below. Because subscribing and
//! delivering go through one sequence, the answer to an attach names the exact point at which live delivery begins.
//! Everyone else holds a [`RouterHandle`] and sends messages.

mod compile;
#[cfg(test)]
mod cost_tests;
pub(crate) mod counters;
mod credentials;
mod deliver;
mod encode;
#[cfg(test)]
mod end_tests;
mod ended_rights;
mod figures;
#[cfg(test)]
mod gap_tests;
mod handle;
mod lifecycle;
mod refresh;
mod revoke;
mod subscribe;
mod unmatchable;

mod alive;
mod backlog;
mod change;
mod charge;
mod incarnation;
mod lock;
mod narrow;
mod notify;
mod observe;
pub(crate) mod opened;
pub(crate) mod outbox;
#[cfg(test)]
mod outbox_tests;
pub(crate) mod registry;
mod several;
mod shed;
mod table;

use std::{
    future::ready,
    sync::Arc,
    time::{Duration, Instant},
};

use bson::{DateTime, RawDocument};
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use self::change::{
    FeedBatch, FeedChange, FeedChangeKind, FromFeed, Operation, PastBatch, PastChange,
    PastChangeKind, Reload, Span,
};
pub(crate) use self::compile::compile_off_thread;
pub(crate) use self::credentials::{SharedCredentials, Withheld};
pub(crate) use self::encode::EventEncoder;
pub(crate) use self::handle::{Applied, Busy, Connection, RouterHandle};
pub(crate) use self::incarnation::Incarnation;
pub(crate) use self::observe::{EndedRight, Observations, Observed, ObserverInbox, ObserverInput};
pub(crate) use self::refresh::{RefreshError, Refreshed};
pub(crate) use self::several::{AdHoc, OpenSession, OpenedSession, Subscribe, Subscribed};
pub(crate) use self::subscribe::{Attach, AttachError, Attached, BacklogAnswer, LiveFrom};
pub(crate) use self::table::TableBuilder;
pub(crate) use self::table::{Capacity, Counted, Occupancy, Table};
use self::{
    backlog::Backlog,
    credentials::near,
    deliver::Delivery,
    figures::Figures,
    lifecycle::When,
    observe::Observers,
    registry::{ChannelKey, Registry, SessionKey},
    table::{Entry, Slot},
};
use crate::{
    access::{Caller, Credentials, KeysChange, Sight},
    budget::ByteBudget,
    config, event,
    position::{DeploymentId, Position},
    protocol::Ending,
    subscription::{CompiledSubscription, DocumentKey},
    telemetry::Metrics,
};

/// The longest time for which metrics may be behind the router.
const FIGURES_INTERVAL: Duration = Duration::from_secs(1);

/// An input of the router. Inputs are applied one at a time.
#[derive(Debug)]
pub(crate) enum Input {
    /// Applies the next message of the feed.
    Feed(FromFeed),
    /// The credential of a session has ended, perhaps.
    CredentialEnd,
    /// Keys of an issuer of tokens came or left.
    KeysChanged(KeysChange),
    /// Opens a session with one channel.
    Attach(Attach, oneshot::Sender<Result<Attached, AttachError>>),
    /// Opens a session for many subscriptions.
    OpenSession(
        OpenSession,
        oneshot::Sender<Result<OpenedSession, AttachError>>,
    ),
    /// Opens channels on such a session.
    Subscribe(SessionKey, Vec<Subscribe>, oneshot::Sender<Subscribed>),
    /// Ends a channel of such a session, which has found a reason.
    EndChannel(ChannelKey, Ending),
    /// Ends a session, which has found a reason.
    EndSession(SessionKey, Ending),
    /// Refreshes the credential of a session by what its client has proved.
    Refresh(
        SessionKey,
        Box<Caller>,
        oneshot::Sender<Result<Refreshed, RefreshError>>,
    ),
    /// Asks for the backlog after a position, for channels that catch up together.
    Backlog(Box<[ChannelKey]>, Position, oneshot::Sender<BacklogAnswer>),
    /// Extends the backlog by what came after a position, as the oplog tells it.
    ExtendBacklog(Position, Vec<Arc<PastBatch>>, oneshot::Sender<Position>),
    /// Ends so many sessions, and takes none any more, because this node stops. Asks how many are left.
    Stop(usize, oneshot::Sender<usize>),
    /// Asks whether exactly this document is applied.
    Knows(bson::RawDocumentBuf, oneshot::Sender<bool>),
    /// Asks whether there is a subscription of this id in sight.
    Has(String, Sight, oneshot::Sender<bool>),
    /// Asks for the keys of a tenant's invalid subscriptions, or of all, in order, after one, at most so many.
    Invalid(
        Sight,
        Option<DocumentKey>,
        usize,
        oneshot::Sender<Vec<DocumentKey>>,
    ),
    /// Asks for these subscriptions with the faults that this node finds.
    Judge(
        Vec<CompiledSubscription>,
        oneshot::Sender<Vec<CompiledSubscription>>,
    ),
    /// Asks for the number of subscriptions of a tenant or a key, and which of these ids are known.
    Holdings(Counted, Vec<Box<str>>, oneshot::Sender<(usize, Vec<bool>)>),
    /// Asks for the ids of the keys that open sessions hang on.
    KeysInUse(oneshot::Sender<Vec<Box<str>>>),
    /// Asks for the channels of a subscription in sight, on this node, that are in sight too.
    Connections(String, Sight, oneshot::Sender<Option<Vec<Connection>>>),
}

/// The settings of the router.
#[derive(Debug)]
pub(crate) struct Settings {
    pub deployment: DeploymentId,
    /// The name of the database, for events without a source.
    pub database: String,
    /// True if policies narrow what is received: callers prove themselves.
    pub narrows: bool,
    pub limits: config::Limits,
    pub quotas: config::Quotas,
    pub socket: config::Socket,
    pub feed: config::Feed,
}

impl Settings {
    /// Returns the encoder of this node's events.
    pub(crate) fn encoder(&self, metrics: &Metrics) -> EventEncoder {
        EventEncoder {
            deployment: self.deployment,
            default_source: event::default_source(&self.database),
            budget: ByteBudget::on(Arc::clone(&metrics.delivery.outbox_bytes)),
            undecodable: metrics.delivery.events_undecodable.clone(),
        }
    }
}

/// The router's state. [`Router::run`] is its task.
#[derive(Debug)]
pub(crate) struct Router {
    settings: Settings,
    subscriptions: Table,
    registry: Registry<Slot>,
    credentials: SharedCredentials,
    backlog: Backlog,
    delivery: Delivery,
    position: Position,
    /// The position of the last load of all subscriptions.
    loaded_at: Position,
    observers: Observers,
    stopping: bool,
    feed: mpsc::Receiver<FromFeed>,
    inputs: mpsc::Receiver<Input>,
    applied: watch::Sender<Applied>,
    expiring: watch::Sender<Option<DateTime>>,
    occupied: watch::Sender<Occupancy>,
    metrics: Arc<Metrics>,
    published: Figures,
    published_at: Instant,
}

impl Router {
    /// Returns a router, its handle, and the queue from the feed, in which `batches_ahead` may wait.
    pub(crate) fn new(
        settings: Settings,
        batches_ahead: usize,
        metrics: Arc<Metrics>,
    ) -> (Self, RouterHandle, mpsc::Sender<FromFeed>) {
        const COMMANDS_AHEAD: usize = 1024;
        let (feed_sender, feed) = mpsc::channel(batches_ahead);
        let (input_sender, inputs) = mpsc::channel(COMMANDS_AHEAD);
        let (applied, watching) = watch::channel(Applied::default());
        let (expiring, next_expiry) = watch::channel(None);
        let subscriptions = Table::with_capacity(Capacity::from(&settings.limits));
        let subscriptions = subscriptions.counting(settings.narrows);
        let (occupied, occupancy) = watch::channel(subscriptions.occupancy());
        let credentials = SharedCredentials::new(Credentials::with_room(
            settings.narrows,
            settings.limits.credentials_bytes,
        ));
        let handle = RouterHandle::new(
            input_sender,
            watching,
            next_expiry,
            occupancy,
            credentials.clone(),
            &settings,
        );
        let delivery = Delivery::new(&settings, Arc::clone(&metrics));
        let router = Self {
            backlog: Backlog::new(
                &settings.feed,
                ByteBudget::on(Arc::clone(&metrics.feed.backlog_bytes)),
                delivery.encoder.budget.clone(),
            ),
            delivery,
            settings,
            subscriptions,
            registry: Registry::default(),
            credentials,
            position: Position::START,
            loaded_at: Position::START,
            observers: Observers::default(),
            stopping: false,
            feed,
            inputs,
            applied,
            expiring,
            occupied,
            metrics,
            published: Figures::default(),
            published_at: Instant::now(),
        };
        (router, handle, feed_sender)
    }

    /// Returns the observations for a new observer. It gets all of them if this is called before the router runs.
    pub(crate) fn observe(&mut self) -> Observations {
        self.observers.add()
    }

    /// Applies inputs until every handle is gone.
    pub(crate) async fn run(mut self) {
        while let Some(input) = self.next_input().await {
            self.apply(input).await;
            self.hand_over().await;
            self.drop_unused();
        }
    }

    /// Applies the next input, if there is one; returns whether there was.
    #[cfg(test)]
    pub(crate) fn play(&mut self) -> bool {
        use futures_util::FutureExt as _;
        let Some(Some(input)) = receive(&mut self.feed, &mut self.inputs).now_or_never() else {
            return false;
        };
        let applied = async {
            self.apply(input).await;
            self.hand_over().await;
        };
        applied.now_or_never().expect("nobody is waited for");
        self.drop_unused();
        true
    }

    /// Ends all sessions, because this node stops.
    #[cfg(test)]
    pub(crate) fn play_stop(&mut self) {
        self.registry
            .end_some(usize::MAX, Ending::Shutdown, self.position);
    }

    /// Returns observations to which nothing comes.
    #[cfg(test)]
    pub(crate) fn observations_of_nobody() -> Observations {
        Observers::default().add()
    }

    /// Forgets ad-hoc subscriptions that have no channel any more.
    fn drop_unused(&mut self) {
        for slot in self.registry.take_emptied() {
            if self.registry.of(slot).is_empty() {
                self.subscriptions.remove_adhoc(slot);
            }
        }
    }

    /// Returns the next input; `None` if every handle is gone. Figures are published whenever no input waits, and at
    /// least once a second.
    async fn next_input(&mut self) -> Option<Input> {
        if self.published_at.elapsed() >= FIGURES_INTERVAL {
            self.publish_figures();
        }
        tokio::select! {
            biased;
            input = receive(&mut self.feed, &mut self.inputs) => return input,
            () = ready(()) => self.publish_figures(),
        }
        let credential_end = self.registry.next_credential_end();
        if credential_end.is_none() {
            return receive(&mut self.feed, &mut self.inputs).await;
        }
        tokio::select! {
            input = receive(&mut self.feed, &mut self.inputs) => input,
            () = near(credential_end) => Some(Input::CredentialEnd),
        }
    }

    async fn apply(&mut self, input: Input) {
        match input {
            Input::Feed(FromFeed::Batch(batch)) => self.apply_batch(batch).await,
            Input::Feed(FromFeed::Reload(reload)) => self.apply_reload(reload).await,
            Input::Attach(attach, reply) => self.attach(attach, reply),
            Input::OpenSession(open, reply) => self.open_session(open, reply),
            Input::Subscribe(session, wanted, reply) => self.subscribe(session, wanted, reply),
            Input::EndChannel(key, ending) => {
                self.registry.end_channel(key, ending, self.position);
            }
            Input::CredentialEnd => {
                let position = self.position;
                self.end_expired_sessions(DateTime::now(), position).await;
            }
            Input::KeysChanged(change) => self.apply_keys(&change),
            Input::EndSession(key, ending) => {
                self.registry.end_session(key, ending, self.position);
            }
            Input::Refresh(key, caller, reply) => self.refresh(key, *caller, reply),
            Input::Backlog(keys, from, reply) => {
                let past = self.backlog_after(&keys, from);
                answer(reply, past);
            }
            Input::ExtendBacklog(from, batches, reply) => {
                self.backlog.add_before(from, &batches);
                answer(reply, self.backlog.start());
            }
            Input::Stop(most, reply) => {
                self.stopping = true;
                self.registry
                    .end_some(most, Ending::Shutdown, self.position);
                self.applied.send_modify(|applied| applied.stopping = true);
                answer(reply, self.registry.len());
            }
            Input::Knows(document, reply) => {
                answer(reply, self.subscriptions.holds(&document));
            }
            Input::Has(id, sight, reply) => {
                answer(reply, self.subscriptions.visible(&id, &sight).is_some());
            }
            Input::Invalid(sight, after, limit, reply) => {
                let keys = self
                    .subscriptions
                    .invalid_after(&sight, after.as_ref(), limit);
                answer(reply, keys);
            }
            Input::Judge(mut read, reply) => {
                for compiled in &mut read {
                    self.subscriptions.judge(compiled);
                }
                answer(reply, read);
            }
            Input::Holdings(counted, ids, reply) => {
                let known = ids.iter().map(|id| self.subscriptions.slot(id).is_some());
                let count = self.subscriptions.holdings_of(&counted);
                answer(reply, (count, known.collect()));
            }
            Input::KeysInUse(reply) => answer(reply, self.registry.keys_in_use()),
            Input::Connections(id, sight, reply) => {
                let slot = self.subscriptions.visible(&id, &sight);
                answer(
                    reply,
                    slot.map(|slot| self.connections_of(slot, sight.tenant())),
                );
            }
        }
    }

    /// Puts into outboxes what an input has brought for sessions for many subscriptions.
    async fn hand_over(&mut self) {
        if self.registry.has_told() {
            let position = self.position;
            self.delivery.settle(&mut self.registry, position).await;
            self.delivery.hand_over();
        }
    }

    /// Applies the changes of a batch in order, and keeps them for replays.
    async fn apply_batch(&mut self, batch: FeedBatch) {
        let mut applied = Vec::with_capacity(batch.changes.len());
        for change in batch.changes {
            applied.extend(self.apply_change(change, &batch.reply).await);
        }
        self.position = self.position.max(batch.position);
        self.delivery.flush(&mut self.registry).await;
        self.delivery
            .settle(&mut self.registry, self.position)
            .await;
        self.delivery
            .shed_load(&mut self.registry, self.position)
            .await;
        self.delivery.hand_over();
        Metrics::observe(
            &self.metrics.delivery.receipt_to_match,
            batch.received_at.elapsed(),
        );
        drop(batch.unapplied);
        let past = PastBatch::new(batch.reply, applied, batch.position, batch.received_at);
        self.backlog.add(past);
        self.announce();
    }

    /// Applies one change. Returns what replays need to know of it, if anything.
    async fn apply_change(
        &mut self,
        change: FeedChange,
        reply: &RawDocument,
    ) -> Option<PastChange> {
        let FeedChange {
            position,
            wall_time,
            kind,
        } = change;
        if !matches!(kind, FeedChangeKind::Operation(_)) {
            // It comes behind the events before it.
            self.delivery.flush(&mut self.registry).await;
        }
        let before = self.position;
        // A late timer lets nothing through.
        self.end_expired_sessions(wall_time, before).await;
        self.position = before.max(position);
        let kind = match kind {
            FeedChangeKind::Operation(operation) => {
                let kind = PastChangeKind::Operation(operation);
                let change = PastChange::new(position, wall_time, kind);
                if let Some(event) = operation.event_in(reply) {
                    self.metrics.delivery.events_received.inc();
                    self.apply_event(event, &change, before).await;
                }
                return Some(change);
            }
            FeedChangeKind::SubscriptionStored(compiled) => {
                let (subscription, filter) = compiled.into_parts();
                let document = subscription.document.clone();
                self.upsert(Entry::new(subscription), filter).await;
                PastChangeKind::SubscriptionStored(document)
            }
            FeedChangeKind::SubscriptionDeleted(document_key) => {
                let when = When::Committed(wall_time);
                self.delete(&DocumentKey::of(&document_key), when).await;
                PastChangeKind::SubscriptionDeleted(document_key)
            }
            FeedChangeKind::AllSubscriptionsDeleted => {
                let when = When::Committed(wall_time);
                let none = Table::with_capacity(Capacity::from(&self.settings.limits));
                self.replace_all(none, when, None).await;
                PastChangeKind::AllSubscriptionsDeleted
            }
            FeedChangeKind::Missed(reason) => {
                self.notify_gap(reason, before).await;
                PastChangeKind::Missed(reason)
            }
            FeedChangeKind::Credentials(change) => {
                Box::pin(self.apply_credentials(&change, wall_time)).await;
                return None;
            }
            FeedChangeKind::PositionsLost => {
                self.observers.publish(Observed::PositionsLost).await;
                return None;
            }
        };
        Some(PastChange::new(position, wall_time, kind))
    }

    /// Delivers an event. Subscriptions whose filters cannot be matched with it become invalid. `before` is the
    /// feed's position before the event.
    async fn apply_event(&mut self, document: &RawDocument, change: &PastChange, before: Position) {
        let delivered = self
            .delivery
            .event(document, change, &self.subscriptions, &mut self.registry)
            .await;
        if delivered.is_err() {
            Box::pin(self.blame_panics(document, change, before)).await;
        }
        if !self.delivery.matched.too_expensive.is_empty() {
            Box::pin(self.blame_too_expensive(change, before)).await;
        }
        if !self.delivery.matched.undecided.is_empty() {
            Box::pin(self.pass_over_undecided(before)).await;
        }
    }

    /// Announces that everything up to here is applied. The figures show it already.
    fn announce(&mut self) {
        self.subscriptions.log_warnings();
        let occupancy = self.subscriptions.occupancy();
        self.occupied
            .send_if_modified(|known| std::mem::replace(known, occupancy) != occupancy);
        let next = self.subscriptions.next_expiry();
        self.expiring.send_if_modified(|known| {
            let modified = *known != next;
            *known = next;
            modified
        });
        self.publish_figures();
        self.applied.send_replace(Applied {
            position: self.position,
            loaded: true,
            stopping: self.stopping,
            unmatchable: self.subscriptions.unmatchable(),
            broken_policies: self.credentials.policies().count().1,
            withheld_credentials: self.credentials.withheld(),
        });
    }
}

/// Receives from either queue, without preferring one.
async fn receive(
    feed: &mut mpsc::Receiver<FromFeed>,
    inputs: &mut mpsc::Receiver<Input>,
) -> Option<Input> {
    tokio::select! {
        Some(change) = feed.recv() => Some(Input::Feed(change)),
        input = inputs.recv() => input,
    }
}

fn outbox_bounds(socket: &config::Socket) -> outbox::Bounds {
    outbox::Bounds {
        frames: socket.outbox_frames,
        bytes: socket.outbox_bytes,
    }
}

/// Answers a caller, who may no longer wait.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    if reply.send(value).is_err() {
        tracing::trace!("the caller no longer waits");
    }
}
