//! `GET /subscriptions/{id}/teardown`: what each node did about a delete.

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
        read_your_writes::{not_found, seen},
    },
    protocol::Ending,
    receipts::Remembered,
    store::MOST_NODES,
};

/// The nodes of the day, each with what is known of its sockets of a deleted subscription.
pub(crate) async fn show(
    State(state): State<AppState>,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    applied_delete(&state, &id).await?;
    let (remembered, recalled) = remembered(&state, &id).await?;
    let evidence = gather(&state, &id, remembered).await?;
    let Some(verdict) = evidence.judge() else {
        return Err(if recalled {
            never_heard_of(remembered)
        } else {
            Problem::new(
                Kind::NotReady,
                "this node has just started and still reads the deletes of the last day; try again",
            )
        });
    };
    let complete = verdict.complete() && evidence.nodes.len() < MOST_NODES;
    let body = report(&state, &id, &verdict, complete);
    Ok(answer::json(StatusCode::OK, body.to_string()))
}

/// Makes sure that there is no such subscription, and that this node has applied its delete.
async fn applied_delete(state: &AppState, id: &str) -> Result<(), Problem> {
    let read = state.store.find_subscription(id).await?;
    if read.document.is_some() {
        return Err(Problem::new(
            Kind::NotDeleted,
            "there is a subscription with this id; it may have sockets",
        ));
    }
    let unseen = "this node has not seen the delete yet";
    seen(state, read.operation_time, unseen).await
}

/// What this node remembers of the delete, and whether that is all it can come to know.
async fn remembered(state: &AppState, id: &str) -> Result<(Remembered, bool), Problem> {
    let find = async || {
        let found = state.receipts.find(id).await;
        found.ok_or_else(|| Problem::new(Kind::NotReady, "this node is stopping"))
    };
    let found = find().await?;
    if found.deletion.is_some() {
        return Ok((found, true));
    }
    let recalled = state.recall.done(state.limits().database_timeout).await;
    Ok((find().await?, recalled))
}

/// Each thing is read after what it is judged by: a receipt is written before the sign of life that
/// vouches for it.
async fn gather(state: &AppState, id: &str, remembered: Remembered) -> Result<Evidence, Problem> {
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

fn never_heard_of(remembered: Remembered) -> Problem {
    let problem = not_found();
    let Some(since) = remembered.since else {
        return problem;
    };
    let seconds = i64::from(since.cluster_time().time);
    let since = answer::time(bson::DateTime::from_millis(seconds * 1_000));
    Problem::new(
        Kind::SubscriptionNotFound,
        format!("no subscription has this id, and none with it was deleted since {since}"),
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
