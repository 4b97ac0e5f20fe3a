//! The bounds on what all requests of a node take together.

use std::sync::Arc;

use super::{
    budget::Budget, creations::Creations, failures::Failures, offload::ConcurrencyLimit,
    own_tickets::OwnTickets, rates::Rates, unknown_keys::UnknownKeys,
};
use crate::{
    config::{Limits, Quotas},
    telemetry::Metrics,
};

/// Pages that are read at once where no search is needed.
const CONCURRENT_PAGES: usize = 4;
/// Tickets that are made or taken at once: each is a write. The database takes no more in a second with more at once.
const CONCURRENT_TICKETS: usize = 64;

/// Bytes and permits that requests share.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// Bytes of bodies that are being read, and of the documents made from them.
    pub(crate) bodies: Budget,
    /// Bytes of answers from their making until they are sent.
    pub(crate) answers: Budget,
    /// Requests to publish that are at the database at once, where tenants take turns.
    pub(crate) publishing: ConcurrencyLimit,
    /// Large bodies that are parsed at once.
    pub(crate) reading: ConcurrencyLimit,
    /// Filters of requests that are compiled, tried or explained at once.
    pub(crate) filtering: ConcurrencyLimit,
    /// Searches of the stored events at once.
    pub(crate) searching: ConcurrencyLimit,
    /// Pages that an index gives, read at once: each holds a reply of the server for a moment.
    pub(crate) paging: ConcurrencyLimit,
    /// Tickets that are made or taken at once.
    pub(crate) tickets: ConcurrencyLimit,
    /// Questions after keys that this node does not know.
    pub(crate) unknown_keys: Arc<UnknownKeys>,
    /// Tickets that this node has made.
    pub(crate) own_tickets: Arc<OwnTickets>,
    /// Credentials that do not stand, by address.
    pub(crate) failures: Arc<Failures>,
    /// Bounds on each tenant, where no policy says otherwise.
    pub(crate) quotas: Arc<Quotas>,
    /// The rates of tenants, and of keys with limits.
    pub(crate) rates: Arc<Rates>,
    /// Subscriptions that are being created for tenants, and by keys with limits.
    pub(crate) creations: Arc<Creations>,
}

impl Bounds {
    /// Returns the configured bounds of a node with so many connections to the database. `metrics` counts the bytes that are
    /// held and refused.
    pub(crate) fn new(
        limits: &Limits,
        quotas: &Quotas,
        connections: usize,
        metrics: &Arc<Metrics>,
    ) -> Self {
        Self {
            bodies: Budget::new(limits.reading_bytes, "bodies", metrics),
            answers: Budget::new(limits.answering_bytes, "answers", metrics),
            publishing: ConcurrencyLimit::new(publishing(connections), "requests to publish"),
            reading: ConcurrencyLimit::new(limits.readings, "large bodies"),
            filtering: ConcurrencyLimit::new(limits.filterings, "filters"),
            searching: ConcurrencyLimit::new(limits.searches, "searches of events"),
            paging: ConcurrencyLimit::new(CONCURRENT_PAGES, "pages"),
            tickets: ConcurrencyLimit::new(CONCURRENT_TICKETS, "tickets"),
            unknown_keys: Arc::default(),
            own_tickets: Arc::default(),
            failures: Arc::new(Failures::new(quotas.failures_per_minute)),
            quotas: Arc::new(quotas.clone()),
            rates: Arc::default(),
            creations: Arc::default(),
        }
    }
}

/// Returns the number of requests that may publish at once. They leave connections to the others, and the wait for one is here,
/// where tenants take turns, and not in the driver, where whoever asks most has most.
fn publishing(connections: usize) -> usize {
    (connections * 3 / 4).max(1)
}
