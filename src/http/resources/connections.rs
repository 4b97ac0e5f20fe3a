//! `GET /subscriptions/{id}/connections`: the connections on this node.

use axum::{
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};
use serde_json::{Value, json};

use crate::{
    http::edge::{
        AppState, answer, path_id::Id, problem::Problem, query::Query,
        read_your_writes::ensure_visible,
    },
    router::Connection,
};

/// Lists the connections of one subscription on this node, oldest first.
pub(crate) async fn list(
    State(state): State<AppState>,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    ensure_visible(&state, &id).await?;
    let mut connections = state
        .router()
        .connections(&id)
        .await?
        .ok_or_else(|| Problem::no_subscription(&id))?;
    // Ids are ordered by time.
    connections.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let items: Vec<_> = connections.iter().map(show).collect();
    let text = json!({"items": items}).to_string();
    Ok(answer::json(StatusCode::OK, text))
}

fn show(connection: &Connection) -> Value {
    json!({
        "connectionId": connection.id,
        "protocol": connection.dialect.name(),
        "remote": connection.remote,
        "connectedAt": humantime::format_rfc3339_millis(connection.opened_at).to_string(),
        "replaying": connection.replaying,
        "waiting": connection.waiting_frames,
    })
}
