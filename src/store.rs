//! The store: everything in MongoDB except the change stream.
//!
//! It owns two clients of one database: one for requests, and one for streams, which does not retry
//! reads (an automatic retry of a change stream's `aggregate` forgets where the stream was). Every call
//! ends in time: the server is told how long it may work, and the caller stops waiting after
//! `limits.database_timeout`, or as soon as the database is known to be unavailable
//! ([`AvailabilityWatch`]). A majority acknowledges every write. The answer carries the operation time,
//! so that the caller can wait for the feed to pass it.
//!
//! Its rooms, from the top down: `doctor` looks at a database without changing it; `migrations` makes and
//! mends the collections; `collections` reads and writes them; `lease` and `oplog` serve all of these;
//! `client` is the connection; `unreadable` counts documents that cannot be read.
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
        startup::{ForeignCollection, StartupError},
    },
    collections::{
        documents::{Deleted, Read, Written},
        events::{
            EventOutcome, EventsWritten,
            dates::{EventCommit, UndatedEvent},
            lookup::EventLookup,
            page_key::{PageKey, PageKeyError, event_page_key},
            pages::{EventPage, EventQuery, PageStep},
        },
        idempotency::{KeyState, RESERVATION_LEASE, Reservation, Seed, StoredAnswer},
        nodes::{
            ALIVE_INTERVALS, DeleteProgress, Heartbeat, MOST_NODES, NodeInfo, NodeRecord,
            TEARDOWN_MEMORY,
        },
        positions::{Beginning, DurableSnapshot, PositionChanges},
        receipts::{Deletion, Receipt, StoredReceipt},
        subscriptions::{
            BatchWritten,
            listing::{ListQuery, Listed, StoredStatus},
            snapshot::SubscriptionBatch,
        },
    },
    doctor::{AccessSurvey, Checkup, Clock, Oplog, Rights, Server, Writers, check_up},
    migrations::{Difference, MigrationState, MigrationStatus, Survey},
    oplog::OplogFill,
};

/// For code outside of the crate, which sees everything and acts for nobody.
#[doc(hidden)]
pub use self::collections::audit::Actor;
#[doc(hidden)]
pub use crate::access::{Holder, Right, RightKind, Sight};

pub(crate) use self::{
    client::error::{brief, code},
    collections::{
        audit::AuditQuery, document_limits::check as check_document, keys::KeyQuery,
        revocations::RevocationQuery,
    },
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
/// The collection of answers that are kept for repeated requests.
pub const IDEMPOTENCY: &str = "idempotency";
/// The collection of records: migrations, their lease, and the deployment's identity.
pub const MIGRATIONS: &str = "migrations";
/// The collection of receipts: the nodes' work on deletes.
pub const RECEIPTS: &str = "receipts";
/// The collection of nodes.
pub const NODES: &str = "nodes";
/// The collection of acknowledged positions.
pub const POSITIONS: &str = "positions";

/// The collection of API keys.
pub const KEYS: &str = "keys";
/// The collection of policies.
pub const POLICIES: &str = "policies";
/// The collection of revocations.
pub const REVOCATIONS: &str = "revocations";
/// The collection of the audit: the acts on keys, policies, revocations and subscriptions.
pub const AUDIT: &str = "audit";

/// The collection of tickets, each for one connection.
pub const TICKETS: &str = "tickets";

/// The collection of the last uses of keys.
pub const USES: &str = "uses";

/// Every collection of this service. It touches no other, and these only if they are ours.
pub const COLLECTIONS: [&str; 13] = [
    SUBSCRIPTIONS,
    EVENTS,
    POSITIONS,
    NODES,
    RECEIPTS,
    IDEMPOTENCY,
    KEYS,
    POLICIES,
    REVOCATIONS,
    AUDIT,
    TICKETS,
    USES,
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
    /// The identity that this node stores if the deployment has none yet.
    candidate: Deployment,
    /// The stored identity. Nothing is stored before the database is known to be ours.
    deployment: OnceLock<Deployment>,
    availability: AvailabilityWatch,
    /// The most connections for requests.
    connections: u32,
    timeout: Duration,
    retention: Duration,
    audit_retention: Duration,
    /// Collections of others that the operator handed over.
    adopt: Vec<String>,
    unreadable: Unreadable,
}

impl Store {
    /// Returns the database through the client for requests: majority reads from the primary, majority
    /// journaled writes.
    pub fn database(&self) -> &Database {
        &self.inner.database
    }

    /// Returns the database through the client for streams, which does not retry reads. Open a stream at
    /// an explicit position, and reopen it from the last token on any error.
    pub fn feed_database(&self) -> &Database {
        &self.inner.feed_database
    }

    /// Returns the most connections that requests share. Who needs one more waits in the driver.
    pub(crate) fn connections(&self) -> usize {
        usize::try_from(self.inner.connections).unwrap_or(usize::MAX)
    }

    /// Returns the name of the database.
    pub fn database_name(&self) -> &str {
        self.inner.database.name()
    }

    /// Returns the deployment whose cursors this service issues. In a database that was never migrated, it
    /// is the one that this node would store.
    pub fn deployment(&self) -> DeploymentId {
        self.known_deployment().id
    }

    fn known_deployment(&self) -> &Deployment {
        let stored = self.inner.deployment.get();
        stored.unwrap_or(&self.inner.candidate)
    }
}
