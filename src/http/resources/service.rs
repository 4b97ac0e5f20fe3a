//! Calls about the service itself: its links, health and metrics.

use axum::{
    extract::State,
    http::{Extensions, HeaderValue, StatusCode, Uri, header},
    response::Response,
};
use serde_json::json;

use crate::{
    access::Scope,
    http::edge::{
        AppState, answer,
        caller::By,
        paths::BASE,
        problem::{Kind, Problem},
        query::Query,
    },
    telemetry::{Health, Metrics, OPENMETRICS_CONTENT_TYPE},
};

/// `GET /api/v1`: the name, the version and the links to the rest.
pub(crate) async fn root(uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let link = |path: &str| format!("{BASE}/{path}");
    let document = json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "links": {
            "self": BASE,
            "subscriptions": link("subscriptions"),
            "events": link("events"),
            "match": link("match"),
            "nodes": link("nodes"),
            "description": link("openapi.json"),
            "docs": link("docs"),
            "whoami": link("whoami"),
            "health": link("health"),
            "live": link("live"),
            "ready": link("ready"),
            "metrics": "/metrics",
        },
    });
    Ok(answer::json(StatusCode::OK, document.to_string()))
}

/// `GET /health`: the state of each part and its time, for those who may know. 503 if this node is unhealthy.
pub(crate) async fn health(
    State(state): State<AppState>,
    extensions: Extensions,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let caller = extensions.get::<By>();
    let whole = caller.is_some_and(|By(caller)| caller.may(Scope::Metrics));
    Ok(show_health(&state.health, whole))
}

/// Shows the health of this node: as a whole, or nothing but whether it is healthy.
pub(crate) fn show_health(health: &Health, whole: bool) -> Response {
    let status = match health.ready() {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut document = health.to_json();
    if !whole {
        document = json!({"status": document["status"]});
    }
    uncached(answer::json(status, document.to_string()))
}

/// `GET /live`: the process answers.
pub(crate) async fn live(uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    Ok(uncached(answer::json(
        StatusCode::OK,
        json!({"status": "up"}).to_string(),
    )))
}

/// `GET /ready`: whether requests should be sent here. It is open to everybody, so the reason is `/health`'s alone.
pub(crate) async fn ready(State(state): State<AppState>, uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    match state.health.ready() {
        Ok(()) => Ok(uncached(answer::json(
            StatusCode::OK,
            json!({"status": "ready"}).to_string(),
        ))),
        Err(_) => Err(not_ready()),
    }
}

/// Refuses a probe of a node that cannot serve yet, or not now.
fn not_ready() -> Problem {
    Problem::new(
        Kind::NotReady,
        "requests should not be sent to this node now; /health says why",
    )
}

/// Answers `GET /ready` before this node has started.
pub(crate) async fn not_ready_yet() -> Problem {
    not_ready()
}

/// Refuses all other requests before this node has started.
pub(crate) async fn starting() -> Problem {
    Problem::new(
        Kind::NotReady,
        "this node is starting and waits for its database",
    )
}

/// Refuses all requests on a TCP connection beyond those that this node takes.
pub(crate) async fn full() -> Problem {
    Problem::new(
        Kind::Overloaded,
        "this node accepts no more TCP connections, in all (limits.tcp_connections) or from this address \
         (limits.tcp_connections_per_address)",
    )
}

/// `GET /metrics`
pub(crate) async fn metrics(State(state): State<AppState>) -> Response {
    show_metrics(state.metrics())
}

/// Shows all metrics of this node.
pub(crate) fn show_metrics(metrics: &Metrics) -> Response {
    let mut response = answer::json(StatusCode::OK, metrics.encode());
    let kind = HeaderValue::from_static(OPENMETRICS_CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn uncached(mut response: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}
