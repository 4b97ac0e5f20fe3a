//! The store: everything in MongoDB except the change stream.
//!
//! It owns two clients of one database: one for requests, and one for streams that does not retry
//! reads (an automatic retry of a change stream's `aggregate` forgets where the stream was). Every
//! call has an end: the server is told how long it may work, and the caller stops waiting after
//! `limits.database_timeout`, or as soon as the database is known to be away ([`AvailabilityWatch`]). Every write is acknowledged by a majority and answers with the
//! operation time, so that the caller can wait for the feed to pass it.
//!
//! It knows nothing of HTTP, of the feed, or of connections.

mod client;
mod collections;
mod doctor;
mod lease;
mod migrations;
mod oplog;
mod unreadable;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use mongodb::Database;

use crate::position::DeploymentId;

pub use self::{
    client::{
        availability::{Availability, AvailabilityWatch, Outage, jittered},
        error::StoreError,
        startup::{Foreign, StartupError},
    },
    collections::{
        events::{
            EventOutcome, EventsWritten,
            dates::{Committed, Undated},
            page_key::{PageKey, PageKeyError, event_page_key},
            pages::{EventPage, EventQuery, Patience, Taken},
        },
        idempotency::{Begun, RESERVATION_LEASE, Reservation, Seed, StoredAnswer},
        nodes::{
            ALIVE_INTERVALS, DeleteProgress, Heartbeat, MOST_NODES, NodeInfo, NodeRecord,
            TEARDOWN_MEMORY,
        },
        positions::{Beginning, PositionChanges, Whole},
        receipts::{Deletion, Receipt, ReceiptRead},
        subscriptions::{
            BatchWritten, Deleted, Read, Written,
            listing::{ListQuery, Listed, StoredStatus},
            snapshot::Documents,
        },
    },
    doctor::{Checkup, Clock, Oplog, Rights, Server, check_up},
    migrations::{Difference, MigrationState, MigrationStatus, Survey},
    oplog::Fill,
};

pub(crate) use self::{
    client::error::{brief, code},
    oplog::CAPPED_POSITION_LOST,
};
use self::{
    client::{clock::ServerClock, deployment::Deployment},
    unreadable::Unreadable,
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
    availability: AvailabilityWatch,
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
}
