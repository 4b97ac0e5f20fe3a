//! `GET /subscriptions/{id}/connections`: the connections on this node.

use axum::{
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};
use serde_json::{Value, json};

use crate::{
    access::Scope,
    http::edge::{
        AppState, answer, caller::By, path_id::Id, problem::Problem, query::Query,
        read_your_writes::ensure_visible,
    },
    router::Connection,
};

/// Lists the connections of one subscription on this node, oldest first.
pub(crate) async fn list(
    State(state): State<AppState>,
    By(caller): By,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let sight = caller.sight();
    ensure_visible(&state, &id, &sight).await?;
    let mut connections = state
        .router()
        .connections(&id, &sight)
        .await?
        .ok_or_else(|| Problem::no_subscription(&id))?;
    // Ids are ordered by time.
    connections.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let shows_remote = caller.may(Scope::SubscriptionsWrite);
    let items = connections.iter();
    let items: Vec<_> = items.map(|one| show(one, shows_remote)).collect();
    let text = json!({"items": items}).to_string();
    Ok(answer::json(StatusCode::OK, text))
}

/// Shows a connection. The address of its client is for those who may change the subscription.
fn show(connection: &Connection, shows_remote: bool) -> Value {
    let mut shown = json!({
        "connectionId": connection.id,
        "protocol": connection.dialect.name(),
        "remote": shows_remote.then_some(&connection.remote),
        "connectedAt": humantime::format_rfc3339_millis(connection.opened_at).to_string(),
        "replaying": connection.replaying,
        "waiting": connection.waiting_frames,
    });
    if let Some(handle) = &connection.handle {
        shown["handle"] = (&**handle).into();
    }
    shown
}
