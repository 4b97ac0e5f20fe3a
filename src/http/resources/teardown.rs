//! `GET /subscriptions/{id}/teardown`: the state of each node after a delete.

mod verdict;

use axum::{
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};
use serde_json::{Value, json};

use self::verdict::{Evidence, Report, State as NodeState, Verdict};
use crate::{
    http::edge::{
        AppState, answer,
        path_id::Id,
        problem::{Kind, Problem},
        query::Query,
        read_your_writes::ensure_applied,
    },
    protocol::Ending,
    receipts::LastDelete,
    store::MOST_NODES,
};

/// Shows the nodes of the last day, each with the state of its sockets of a deleted subscription.
pub(crate) async fn show(
    State(state): State<AppState>,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    ensure_deleted(&state, &id).await?;
    let (remembered, is_complete) = remembered(&state, &id).await?;
    let evidence = gather(&state, &id, remembered).await?;
    let Some(verdict) = evidence.judge() else {
        return Err(if is_complete {
            unknown_delete(&id, remembered)
        } else {
            Problem::new(
                Kind::NotReady,
                "this node has just started and is still reading the deletes of the last day; try again",
            )
        });
    };
    let complete = verdict.complete() && evidence.nodes.len() < MOST_NODES;
    let body = report(&state, &id, &verdict, complete);
    Ok(answer::json(StatusCode::OK, body.to_string()))
}

/// Ensures that the subscription does not exist, and that this node has applied its delete.
async fn ensure_deleted(state: &AppState, id: &str) -> Result<(), Problem> {
    let read = state.store.find_subscription(id).await?;
    if read.document.is_some() {
        return Err(Problem::new(
            Kind::NotDeleted,
            "a subscription with this id exists; it may have sockets",
        ));
    }
    let late = "this node has not seen the delete yet";
    ensure_applied(state, read.operation_time, late).await
}

/// Returns what this node remembers of the delete, and whether it has learned all that it can.
async fn remembered(state: &AppState, id: &str) -> Result<(LastDelete, bool), Problem> {
    let find = async || {
        let found = state.receipts.find(id).await;
        found.ok_or_else(|| Problem::new(Kind::NotReady, "this node is stopping"))
    };
    let found = find().await?;
    if found.deletion.is_some() {
        return Ok((found, true));
    }
    let patience = state.limits().database_timeout;
    let is_complete = state.delete_history.wait_read(patience).await;
    Ok((find().await?, is_complete))
}

/// Reads the evidence in the opposite order of its writing: a receipt is written before the heartbeat that vouches for
/// it, so the heartbeats are read first.
async fn gather(state: &AppState, id: &str, remembered: LastDelete) -> Result<Evidence, Problem> {
    let router = state.router().progress();
    let applied = router.loaded.then_some(router.position);
    let own = state.receipts.progress(applied).await;
    let nodes = state.store.nodes().await?;
    let receipts = state.store.receipts_of(id).await?;
    let socket = state.socket();
    Ok(Evidence {
        remembered,
        own: (state.node.id.clone(), own),
        nodes,
        receipts,
        heartbeat: socket.ping_interval + socket.pong_timeout + socket.close_timeout,
    })
}

fn unknown_delete(id: &str, remembered: LastDelete) -> Problem {
    let Some(since) = remembered.since else {
        return Problem::no_subscription(id);
    };
    let seconds = i64::from(since.cluster_time().time);
    let since = answer::time(bson::DateTime::from_millis(seconds * 1_000));
    Problem::new(
        Kind::SubscriptionNotFound,
        format!("there is no subscription {id:?}, and none with this id was deleted since {since}"),
    )
}

fn report(state: &AppState, id: &str, verdict: &Verdict, complete: bool) -> Value {
    let nodes: Vec<Value> = verdict.nodes.iter().map(node).collect();
    json!({
        "subscription": id,
        "deletedAt": verdict.deletion.wall_time.map(answer::time),
        "cursor": verdict.deletion.at.cursor(state.router().deployment()),
        "reason": verdict.deletion.ending.map(Ending::token),
        "complete": complete,
        "nodes": nodes,
    })
}

fn node(report: &Report) -> Value {
    json!({
        "node": report.node,
        "host": report.host,
        "address": report.address,
        "state": match report.state {
            NodeState::Closed => "closed",
            NodeState::None => "none",
            NodeState::Gone => "gone",
            NodeState::Pending => "pending",
        },
        "connections": report.connections,
        "closed": report.closed,
        "at": report.at.map(answer::time),
        "until": report.until.map(answer::time),
        "seenAt": report.seen_at.map(answer::time),
    })
}
