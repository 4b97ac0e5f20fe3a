//! The HTTP edge: routes, and what is common to all calls.
//!
//! Thin: a handler reads a request into the vocabulary's types, asks the store or the router, and words
//! the answer. One file a resource; every refusal is a [`problem`].

mod answer;
mod aside;
mod attach;
mod body;
mod calls;
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
mod idempotency;
mod known;
mod nodes;
mod observe;
mod openapi;
mod page;
mod past;
pub mod problem;
mod query;
mod service;
mod socket;
mod sse;
mod subscriptions;
mod teardown;
mod watch;

use std::sync::Arc;

use axum::{Router, middleware, routing::get};
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;

use self::calls::{Call, calls};
pub use self::{cut::Cut, openapi::Description};
use crate::{
    connection::Host,
    feed::Recall,
    receipts::Receipts,
    store::{NodeCard, Store},
    telemetry::Health,
};

/// Where all calls are, but for the metrics.
const BASE: &str = "/api/v1";

/// What handlers work with. Clones share everything.
#[derive(Clone, Debug)]
pub struct AppState {
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
    /// Work that outlives its request. Whoever stops the service closes it and waits.
    pub tasks: TaskTracker,
    /// Comes where the stop has taken too long: connections that are left end at once.
    pub cut: Cut,
}

/// All calls.
pub fn routes(state: AppState) -> Router {
    let mut routes = Router::new()
        .route(&format!("{BASE}/"), get(service::root))
        // An id may be the word "batch": the other methods on this path are that subscription's.
        .route(&format!("{BASE}/subscriptions/batch"), subscriptions::one());
    for Call { path, route, .. } in calls(&state.host.config.limits) {
        routes = routes.route(&path, route);
    }
    let routes = routes
        .fallback(observe::not_found)
        .method_not_allowed_fallback(observe::method_not_allowed);
    common(routes, &state).with_state(state)
}

/// What every request goes through; the last is the outermost.
fn common(routes: Router<AppState>, state: &AppState) -> Router<AppState> {
    let routes = routes
        .layer(middleware::from_fn(observe::expect))
        .layer(CatchPanicLayer::custom(observe::panicked))
        .layer(middleware::from_fn(observe::shape));
    let routes = match cors::layer(&state.host.config.cors) {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes.layer(middleware::from_fn_with_state(
        state.clone(),
        observe::observe,
    ))
}
