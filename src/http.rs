//! The HTTP edge: routes, and what is common to all calls.
//!
//! Thin: a handler reads a request into the vocabulary's types, asks the store or the router, and words
//! the answer. One file a resource; every refusal is a [`problem`].

mod answer;
mod aside;
mod attach;
mod body;
mod conditional;
mod connections;
mod cors;
mod dry_run;
mod events;
mod extract;
mod failure;
mod idempotency;
mod known;
mod nodes;
mod observe;
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

use axum::{
    Router, middleware,
    routing::{get, post},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    config::Config,
    feed::Recall,
    positions::Positions,
    receipts::Receipts,
    replay::Replays,
    router::{RouterHandle, Wording},
    store::{NodeCard, Store},
    telemetry::{Health, Metrics},
};

/// Where all calls are, but for the metrics.
const BASE: &str = "/api/v1";

/// What handlers work with. Clones share everything.
#[derive(Clone, Debug)]
pub struct AppState {
    /// The database.
    pub store: Store,
    /// The router's task.
    pub router: RouterHandle,
    /// All settings.
    pub config: Arc<Config>,
    /// Which part is well.
    pub health: Health,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where the history is read.
    pub replays: Replays,
    /// What was acknowledged.
    pub positions: Positions,
    /// What this node did about deletes.
    pub receipts: Receipts,
    /// The deletes of the time before this node's start.
    pub recall: Recall,
    /// What this node is called.
    pub node: Arc<NodeCard>,
    /// How events are written.
    pub wording: Arc<Wording>,
    /// Work that outlives its request. Whoever stops the service closes it and waits.
    pub tasks: TaskTracker,
    /// Cancelled where the stop has taken too long: connections that are left end at once.
    pub cut: CancellationToken,
}

/// All calls.
pub fn routes(state: AppState) -> Router {
    let at = |path: &str| format!("{BASE}{path}");
    let routes = Router::new()
        .route(BASE, get(service::root))
        .route(&at("/"), get(service::root))
        .route(&at("/health"), get(service::health))
        .route(&at("/live"), get(service::live))
        .route(&at("/ready"), get(service::ready))
        .route("/metrics", get(service::metrics))
        .route(
            &at("/subscriptions"),
            get(subscriptions::list).post(subscriptions::create),
        )
        // An id may be the word "batch": the other methods on this path are that subscription's.
        .route(
            &at("/subscriptions/batch"),
            subscriptions::one().post(subscriptions::batch),
        )
        .route(&at("/subscriptions/{id}"), subscriptions::one())
        .route(&at("/subscriptions/{id}/events"), get(watch::open))
        .route(
            &at("/subscriptions/{id}/match"),
            post(dry_run::subscription),
        )
        .route(
            &at("/subscriptions/{id}/connections"),
            get(connections::list),
        )
        .route(&at("/subscriptions/{id}/teardown"), get(teardown::show))
        .route(&at("/nodes"), get(nodes::list))
        .route(&at("/match"), post(dry_run::filter))
        .route(&at("/events"), post(events::publish).get(events::list))
        .route(&at("/events/{id}"), get(events::get))
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
    let routes = match cors::layer(&state.config.cors) {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes.layer(middleware::from_fn_with_state(
        state.clone(),
        observe::observe,
    ))
}
