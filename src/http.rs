//! The calls over HTTP.
//!
//! Imports point down this list: [`calls`] is the route table, with a handler for each call. [`layers`] are around all
//! routes. [`stream`] turns requests into connections. [`resources`] answers all other calls. [`openapi`] describes calls.
//! [`edge`] is shared by all.

mod calls;
mod edge;
mod layers;
mod openapi;
mod resources;
mod stream;

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{any, get},
};

#[cfg(test)]
pub(crate) use self::stream::echo;
pub(crate) use self::{
    calls::description,
    edge::{
        Abort, AppState, Bounds, ClientTasks, Outcome, Proof, Shared, USE_INTERVAL, Uses,
        client_address::{Proxies, counted_address},
        fallbacks::unread,
        hosts::LocalAddress,
        paths::is_probe,
        problem,
    },
    layers::Layers,
};
use self::{
    calls::{Call, calls, one_subscription},
    edge::{
        answer, fallbacks,
        paths::{BASE, STREAM},
    },
    resources::{landing, service},
};
use crate::telemetry::{Health, Metrics};

/// Returns the routes of a node that serves.
pub(crate) fn routes(state: AppState, layers: &Layers) -> Router {
    let mut routes = Router::new()
        .route("/", get(landing::show))
        .route(&format!("{BASE}/"), get(service::root))
        // An id may be the word "batch": the other methods on this path are that subscription's.
        .route(&format!("{BASE}/subscriptions/batch"), one_subscription());
    for Call { path, route, .. } in calls(state.limits()) {
        routes = routes.route(&path, route);
    }
    let routes = routes
        .fallback(fallbacks::not_found)
        .method_not_allowed_fallback(fallbacks::method_not_allowed);
    let answers = state.bounds.answers.clone();
    layers
        .wrap(routes, Some(answers), Some(state.clone()))
        .with_state(state)
}

/// Returns the routes of the address for monitoring, which asks nobody who they are. No page of another origin may read them.
pub(crate) fn monitoring(metrics: Arc<Metrics>, health: Health) -> Router {
    let metrics = async move || service::show_metrics(&metrics);
    let health = async move || service::show_health(&health, true);
    Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .fallback(fallbacks::not_found)
        .method_not_allowed_fallback(fallbacks::method_not_allowed)
        .layer(middleware::map_response(answer::with_common_headers))
}

/// Returns the routes of a node that is starting: it is alive, and refuses all other requests as not ready.
pub(crate) fn starting(layers: &Layers) -> Router {
    let routes = Router::new()
        .route(&format!("{BASE}/live"), get(service::live))
        .route(&format!("{BASE}/ready"), any(service::not_ready_yet))
        .route(&format!("{BASE}{STREAM}"), any(service::starting))
        .fallback(service::starting);
    layers.wrap(routes, None, None)
}

/// Returns the routes on a TCP connection beyond the limit. [Probes](is_probe) do not come here.
pub(crate) fn full(layers: &Layers) -> Router {
    let routes = Router::new()
        .route(&format!("{BASE}{STREAM}"), any(service::full))
        .fallback(service::full);
    layers.wrap(routes, None, None)
}
