//! The HTTP edge: routes, and what is common to all calls.
//!
//! Thin: a handler reads a request into the vocabulary's types, asks the store or the router, and words
//! the answer. One file a resource; every refusal is a [`problem`].

mod accept;
mod again;
mod answer;
mod aside;
mod attach;
mod body;
mod bounds;
mod budget;
mod calls;
mod clients;
mod common;
mod conditional;
mod connections;
mod cors;
mod cut;
mod docs;
mod dry_run;
#[cfg(test)]
pub(crate) mod echo;
mod events;
mod extract;
mod failure;
mod framing;
mod hosts;
mod idempotency;
mod known;
mod landing;
mod nodes;
mod observe;
mod openapi;
mod origin;
mod outgoing;
mod page;
mod past;
pub(crate) mod problem;
mod query;
mod resume;
mod service;
mod socket;
mod sse;
mod subscriptions;
mod teardown;
mod watch;

use std::{ops::Deref, sync::Arc};

use axum::{
    Router,
    response::{IntoResponse as _, Response},
    routing::{any, get},
};

use self::{
    again::STREAM,
    calls::{Call, calls},
    problem::Problem,
};
pub(crate) use self::{
    bounds::Bounds,
    clients::ClientTasks,
    common::Common,
    cut::{Cut, Outcome},
    hosts::Arrived,
    openapi::Description,
};
use crate::{
    feed::Recall,
    receipts::Receipts,
    session::Host,
    store::{NodeCard, Store},
    telemetry::Health,
};

/// The target of log lines about what was written over HTTP: ids and counts, at the level `debug`.
const WRITES: &str = "tidegate::writes";

/// Where all calls are, but for the metrics.
const BASE: &str = "/api/v1";

/// What handlers work with. Clones share everything, and are cheap: every layer makes one for each request.
#[derive(Clone, Debug)]
pub(crate) struct AppState(Arc<Shared>);

impl From<Shared> for AppState {
    fn from(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// What they share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The database.
    pub store: Store,
    /// Which part is well.
    pub health: Health,
    /// The router, the settings, the metrics, and what else connections work with.
    pub host: Arc<Host>,
    /// What this node did about deletes.
    pub receipts: Receipts,
    /// The deletes of the time before this node's start.
    pub recall: Recall,
    /// What all calls are.
    pub description: Description,
    /// What this node is called.
    pub node: Arc<NodeCard>,
    /// Work that outlives its request. Whoever stops the service waits for it.
    pub tasks: ClientTasks,
    /// What all requests may take together.
    pub bounds: Bounds,
}

/// All calls.
pub(crate) fn routes(state: AppState, common: &Common) -> Router {
    let mut routes = Router::new()
        .route("/", get(landing::show))
        .route(&format!("{BASE}/"), get(service::root))
        // An id may be the word "batch": the other methods on this path are that subscription's.
        .route(&format!("{BASE}/subscriptions/batch"), subscriptions::one());
    for Call { path, route, .. } in calls(&state.host.config.limits) {
        routes = routes.route(&path, route);
    }
    let routes = routes
        .fallback(observe::not_found)
        .method_not_allowed_fallback(observe::method_not_allowed);
    let answers = state.bounds.answers.clone();
    common.around(routes, Some(answers)).with_state(state)
}

/// What a node answers before it has started: that it lives, and to all else that it is not ready.
pub(crate) fn starting(common: &Common) -> Router {
    let routes = Router::new()
        .route(&format!("{BASE}/live"), get(service::live))
        .route(&format!("{BASE}{STREAM}"), any(service::starting))
        .fallback(service::starting);
    common.around(routes, None)
}

/// What a node answers on a TCP connection beyond those that it takes, but for [probes](is_probe).
pub(crate) fn full(common: &Common) -> Router {
    let routes = Router::new()
        .route(&format!("{BASE}{STREAM}"), any(service::full))
        .fallback(service::full);
    common.around(routes, None)
}

/// The answer to a request that could not be read as far as to reach a route.
pub(crate) fn unread(problem: Problem) -> Response {
    let mut response = problem.into_response();
    outgoing::describe(&mut response);
    response
}

/// Whether a request asks for the state of the node alone, which is answered whatever else is refused.
pub(crate) fn is_probe(path: &str) -> bool {
    path.strip_prefix(BASE)
        .is_some_and(|path| matches!(path, "/live" | "/ready"))
}
