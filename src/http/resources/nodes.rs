//! `GET /nodes`: the nodes that are alive.

use axum::{
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};
use serde_json::{Value, json};

use crate::{
    http::edge::{AppState, answer, problem::Problem, query::Query},
    store::{ALIVE_INTERVALS, NodeRecord},
};

/// Lists the nodes whose last heartbeat is recent enough and that have not stopped.
pub(crate) async fn list(State(state): State<AppState>, uri: Uri) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let nodes = state.store.nodes().await?;
    let items: Vec<Value> = nodes
        .iter()
        .filter(|node| node.alive)
        .map(|node| item(&state, node))
        .collect();
    let body = json!({"items": items, "aliveIntervals": ALIVE_INTERVALS});
    Ok(answer::json(StatusCode::OK, body.to_string()))
}

fn item(state: &AppState, node: &NodeRecord) -> Value {
    let cursor = node.progress.applied;
    json!({
        "id": node.id,
        "host": node.host,
        "address": node.address,
        "version": node.version,
        "connections": node.connections,
        "cursor": cursor.map(|at| at.cursor(state.router().deployment())),
        "heartbeatMs": node.interval_ms,
        "startedAt": answer::time(node.started_at),
        "seenAt": answer::time(node.seen_at),
    })
}
