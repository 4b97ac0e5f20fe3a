//! The state that handlers share.

use std::{ops::Deref, sync::Arc};

use super::{
    bounds::Bounds, client_tasks::ClientTasks, description::Description, proof::Proof, uses::Uses,
};
use crate::{
    config::{Browser, Limits, Socket, Tickets},
    filter,
    identity::Issuers,
    positions::Positions,
    receipts::{DeleteHistory, Receipts},
    router::RouterHandle,
    session::NodeContext,
    store::{NodeInfo, Store},
    telemetry::{Health, Metrics},
};

/// The state that every handler gets. Clones share everything and are cheap: every layer makes one for each request.
#[derive(Clone, Debug)]
pub(crate) struct AppState(Arc<Shared>);

impl From<Shared> for AppState {
    fn from(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

impl From<Arc<Shared>> for AppState {
    fn from(shared: Arc<Shared>) -> Self {
        Self(shared)
    }
}

impl AppState {
    /// Returns the state itself, for those who know it by less than all that it can do.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.0)
    }
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// The one copy of the state behind every [`AppState`].
#[derive(Debug)]
pub(crate) struct Shared {
    pub store: Store,
    pub health: Health,
    /// The proof that callers have to give.
    pub proof: Proof,
    /// The issuers of tokens.
    pub issuers: Issuers,
    /// The router, the settings and the metrics, which sessions share.
    pub context: Arc<NodeContext>,
    /// This node's record of the deletes that it applied.
    pub receipts: Receipts,
    /// The deletes of the day before this node's start.
    pub delete_history: DeleteHistory,
    pub description: Description,
    /// The uses of keys that are still to be written down.
    pub uses: Arc<Uses>,
    /// The settings of cookies.
    pub browser: Browser,
    /// The settings of tickets.
    pub tickets: Tickets,
    /// This node's identity, as other nodes see it.
    pub node: Arc<NodeInfo>,
    /// Work that outlives its request. The node waits for it when it stops.
    pub tasks: ClientTasks,
    /// Bounds on what all requests may take together.
    pub bounds: Bounds,
}

impl Shared {
    pub(crate) fn limits(&self) -> &Limits {
        &self.context.limits
    }

    /// Returns the bounds of a filter on this node.
    pub(crate) fn filter_limits(&self) -> filter::Limits {
        filter::Limits::from(self.limits())
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.context.socket
    }

    pub(crate) fn router(&self) -> &RouterHandle {
        &self.context.router
    }

    /// Returns the acknowledged positions of durable subscriptions.
    pub(crate) fn positions(&self) -> &Positions {
        &self.context.positions
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.context.metrics
    }
}
