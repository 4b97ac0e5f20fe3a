//! The store: everything in MongoDB except the change stream.
//!
//! It owns two clients of one database: one for requests, and one for streams that does not retry
//! reads (an automatic retry of a change stream's `aggregate` forgets where the stream was). Every
//! call has an end: the server is told how long it may work, and the caller stops waiting after
//! `limits.database_timeout`, or as soon as the database is known to be away ([`Presence`]). Every write is acknowledged by a majority and answers with the
//! operation time, so that the caller can wait for the feed to pass it.
//!
//! It knows nothing of HTTP, of the feed, or of connections.

mod away;
mod clock;
mod connect;
mod deployment;
mod doctor;
mod error;
mod event_commits;
mod event_dates;
mod event_lookup;
mod event_pages;
mod events;
mod expiry;
mod guesses;
mod idempotency;
mod limits;
mod listing;
mod migrations;
mod nodes;
mod old_events;
mod oplog;
mod page_key;
mod positions;
mod query;
mod receipts;
mod snapshot;
mod startup;
mod subscriptions;
mod unreadable;
mod write_error;

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bson::{DateTime, Document, RawDocumentBuf, Timestamp, doc};
use mongodb::{Client, ClientSession, Collection, Database};
use tokio::time::timeout;

use crate::position::DeploymentId;

pub use self::{
    away::{Lost, Presence, jittered},
    doctor::{Checkup, Clock, Oplog, Rights, Server, check_up},
    error::StoreError,
    event_dates::{Committed, Undated},
    event_pages::{EventPage, EventQuery, Patience, Taken},
    events::{EventOutcome, EventsWritten},
    idempotency::{Begun, LEASE as RESERVATION_LEASE, Reservation, Seed, StoredAnswer},
    listing::{ListQuery, Listed, StoredStatus},
    migrations::{Difference, Foreign, MigrationState, MigrationStatus, Survey},
    nodes::{ALIVE_INTERVALS, Beat, MOST_NODES, NodeCard, NodeSeen, Progress, REMEMBERED},
    oplog::Fill,
    page_key::{PageKey, PageKeyError, event_page_key},
    positions::{Beginning, PositionChanges, Whole},
    receipts::{Deletion, Receipt, ReceiptRead},
    snapshot::Documents,
    startup::StartupError,
    subscriptions::{BatchWritten, Deleted, Read, Written},
};

use self::{clock::ServerClock, deployment::Deployment, unreadable::Unreadable};
pub(crate) use self::{
    error::{brief, code},
    oplog::CAPPED_POSITION_LOST,
};

/// The collection of subscriptions.
pub const SUBSCRIPTIONS: &str = "subscriptions";
/// The collection of events.
pub const EVENTS: &str = "events";
/// The collection of answers kept for repeated requests.
pub const IDEMPOTENCY: &str = "idempotency";
/// The collection that records migrations, their lease, and the deployment's id.
pub const MIGRATIONS: &str = "migrations";
/// The collection of what each node did about deletes.
pub const RECEIPTS: &str = "receipts";
/// The collection of nodes that are alive.
pub const NODES: &str = "nodes";
/// The collection of acknowledged positions.
pub const POSITIONS: &str = "positions";

/// Every collection of this service. No other is touched, and these only where they are ours.
pub const COLLECTIONS: [&str; 7] = [
    SUBSCRIPTIONS,
    EVENTS,
    POSITIONS,
    NODES,
    RECEIPTS,
    IDEMPOTENCY,
    MIGRATIONS,
];

/// A handle on the database; clones share the connections.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    database: Database,
    feed_database: Database,
    clock: ServerClock,
    /// The random part of the deployment's id that this node stores where there is none yet.
    candidate: Deployment,
    /// The deployment as it is stored. Nothing is stored before the database is known to be ours.
    deployment: OnceLock<Deployment>,
    presence: Presence,
    timeout: Duration,
    retention: Duration,
    /// Collections that were there before, and are really meant.
    adopt: Vec<String>,
    unreadable: Unreadable,
}

impl Store {
    /// The database, through the client for requests: majority reads from the primary, majority
    /// journaled writes. For the parts of the service that keep collections of their own.
    pub fn database(&self) -> &Database {
        &self.inner.database
    }

    /// The database, through the client for streams, which does not retry reads. Open streams with an
    /// explicit position, and on any error reopen from the last token.
    pub fn feed_database(&self) -> &Database {
        &self.inner.feed_database
    }

    /// The name of the database.
    pub fn database_name(&self) -> &str {
        self.inner.database.name()
    }

    /// The deployment whose cursors this service issues: in a database that was never migrated the one
    /// that this node would make.
    pub fn deployment(&self) -> DeploymentId {
        self.known_deployment().id
    }

    fn known_deployment(&self) -> &Deployment {
        let stored = self.inner.deployment.get();
        stored.unwrap_or(&self.inner.candidate)
    }

    /// Whether the primary answers. Returns its operation time.
    pub async fn ping(&self) -> Result<Timestamp, StoreError> {
        let mut session = self.session().await?;
        let ping = self.database().run_command(doc! {"ping": 1});
        self.bounded(ping.session(&mut session)).await?;
        operation_time(&session)
    }

    /// An upper estimate of the server's clock: never behind it but for the drift since it was last
    /// measured (half a minute at most), and ahead of it by one round trip at most.
    pub async fn server_time(&self) -> Result<DateTime, StoreError> {
        if let Some(now) = self.inner.clock.now() {
            return Ok(now);
        }
        let sent = Instant::now();
        let hello = self.run(doc! {"hello": 1}).await?;
        let local_time = hello
            .get_datetime("localTime")
            .map_err(|_| StoreError::Unexpected("the answer to hello has no localTime"))?;
        Ok(self.inner.clock.measured(sent, *local_time))
    }

    fn subscriptions(&self) -> Collection<RawDocumentBuf> {
        self.database().collection(SUBSCRIPTIONS)
    }

    fn events(&self) -> Collection<RawDocumentBuf> {
        self.database().collection(EVENTS)
    }

    /// Runs a command on the primary, bounded.
    async fn run(&self, command: Document) -> Result<Document, StoreError> {
        self.bounded(self.database().run_command(command)).await
    }

    async fn session(&self) -> Result<ClientSession, StoreError> {
        self.bounded(self.client().start_session()).await
    }

    fn client(&self) -> &Client {
        self.database().client()
    }

    /// How long the server may work on one request: a little less than the caller waits, so that
    /// the server's own answer comes first.
    fn server_limit(&self) -> Duration {
        self.inner.timeout.mul_f32(0.9)
    }

    /// Waits for a call to the driver, no longer than `limits.database_timeout`.
    fn bounded<T>(
        &self,
        call: impl IntoFuture<Output = mongodb::error::Result<T>>,
    ) -> impl Future<Output = Result<T, StoreError>> {
        let asked = self.asked(call);
        async move { self.told(asked.await) }
    }

    /// [`Store::bounded`] for what may be forbidden without harm.
    fn asked<T>(
        &self,
        call: impl IntoFuture<Output = mongodb::error::Result<T>>,
    ) -> impl Future<Output = Result<T, StoreError>> {
        let waited = self.inner.timeout;
        let answer = self.unless_away(call);
        async move {
            match timeout(waited, answer).await {
                Ok(answer) => answer,
                Err(_) => Err(StoreError::TimedOut { waited }),
            }
        }
    }

    /// Waits for a call to the driver for as long as the database is there: for work whose length no one
    /// can tell, such as building an index.
    fn unhurried<T>(
        &self,
        call: impl IntoFuture<Output = mongodb::error::Result<T>>,
    ) -> impl Future<Output = Result<T, StoreError>> {
        let answer = self.unless_away(call);
        async move { self.told(answer.await) }
    }

    /// Does not even begin where the database is known to be away, and ends when it goes away. What was
    /// sent until then may have been done.
    fn unless_away<T>(
        &self,
        call: impl IntoFuture<Output = mongodb::error::Result<T>>,
    ) -> impl Future<Output = Result<T, StoreError>> {
        // The driver's futures are large, and would be copied into each of those around them.
        let call = Box::pin(call.into_future());
        async move {
            if let Some(lost) = self.presence().away() {
                return Err(StoreError::KnownAway {
                    waited: lost.since.elapsed(),
                });
            }
            let begun = Instant::now();
            tokio::select! {
                biased;
                answer = call => answer.map_err(StoreError::from),
                _ = self.presence().gone() => Err(StoreError::TimedOut { waited: begun.elapsed() }),
            }
        }
    }

    /// Notes where a right is missing.
    fn told<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::NotPermitted { detail, .. }) = &answer {
            self.presence().forbidden(detail);
        }
        answer
    }
}

/// When the last operation of `session` happened, in the cluster's time.
fn operation_time(session: &ClientSession) -> Result<Timestamp, StoreError> {
    session.operation_time().ok_or(StoreError::Unexpected(
        "the server's answer has no operationTime",
    ))
}
