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
    access::{Scope, Sight},
    http::edge::{
        AppState, answer,
        caller::By,
        path_id::Id,
        problem::{Kind, Problem},
        query::Query,
        read_your_writes::ensure_applied,
    },
    position::Position,
    protocol::Ending,
    receipts::LastDelete,
    store::{MOST_NODES, StoredReceipt},
};

/// Shows the nodes of the last day, each with the state of its sockets of a deleted subscription.
pub(crate) async fn show(
    State(state): State<AppState>,
    By(caller): By,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let sight = caller.sight();
    ensure_deleted(&state, &id, &sight).await?;
    let (remembered, is_complete) = remembered(&state, &id, &sight).await?;
    let since = remembered.since;
    let evidence = gather(&state, &id, remembered, &sight).await?;
    let Some(verdict) = evidence.judge() else {
        return Err(if is_complete {
            unknown_delete(&id, since)
        } else {
            Problem::new(
                Kind::NotReady,
                "this node has just started and is still reading the deletes of the last day; try again",
            )
        });
    };
    let complete = verdict.complete() && evidence.nodes.len() < MOST_NODES;
    let shows_hosts = caller.may(Scope::Metrics);
    let body = report(&state, &id, &verdict, complete, shows_hosts);
    Ok(answer::json(StatusCode::OK, body.to_string()))
}

/// Ensures that the subscription does not exist, and that this node has applied its delete.
async fn ensure_deleted(state: &AppState, id: &str, sight: &Sight) -> Result<(), Problem> {
    let read = state.store.find_subscription(id, sight).await?;
    if read.document.is_some() {
        return Err(Problem::new(
            Kind::NotDeleted,
            "a subscription with this id exists; it may have sockets",
        ));
    }
    let late = "this node has not seen the delete yet";
    ensure_applied(state, read.operation_time, late).await
}

/// Returns what this node remembers of the delete, and whether it has learned all that it can. A delete that the caller had
/// no sight of is waited for like one that is unknown.
async fn remembered(
    state: &AppState,
    id: &str,
    sight: &Sight,
) -> Result<(LastDelete, bool), Problem> {
    let find = async || {
        let found = state.receipts.find(id).await;
        found.ok_or_else(|| Problem::new(Kind::NotReady, "this node is stopping"))
    };
    let found = find().await?;
    if found.seen_by(id, sight).is_some() {
        return Ok((found, true));
    }
    let patience = state.limits().database_timeout;
    let is_complete = state.delete_history.wait_read(patience).await;
    Ok((find().await?, is_complete))
}

/// Reads the evidence in the opposite order of its writing: a receipt is written before the heartbeat that vouches for
/// it, so the heartbeats are read first.
async fn gather(
    state: &AppState,
    id: &str,
    remembered: LastDelete,
    sight: &Sight,
) -> Result<Evidence, Problem> {
    let router = state.router().progress();
    let applied = router.loaded.then_some(router.position);
    let own = state.receipts.progress(applied).await;
    let nodes = state.store.nodes().await?;
    let receipts = state.store.receipts_of(id).await?;
    let receipts = visible(receipts, &remembered, id, sight);
    let remembered = within(remembered, id, sight);
    let socket = state.socket();
    Ok(Evidence {
        remembered,
        own: (state.node.id.clone(), own),
        nodes,
        receipts,
        heartbeat: socket.ping_interval + socket.pong_timeout + socket.close_timeout,
    })
}

/// Returns the receipts that tell of deletes that the caller had sight of. The id may have been somebody else's before, or
/// since. If there is such a delete, a receipt that does not say whose it was counts as one of it.
fn visible(
    mut receipts: Vec<StoredReceipt>,
    remembered: &LastDelete,
    id: &str,
    sight: &Sight,
) -> Vec<StoredReceipt> {
    if sight.is_everything() {
        return receipts;
    }
    let saw = |receipt: &StoredReceipt| {
        let holder = receipt.holder.as_ref();
        holder.is_some_and(|holder| sight.saw(id, holder))
    };
    let told = receipts.iter().filter(|receipt| saw(receipt));
    let told = told.map(|receipt| receipt.deletion);
    let known: Vec<Position> = told
        .chain(remembered.seen_by(id, sight))
        .map(|deletion| deletion.at)
        .collect();
    receipts.retain(|receipt| match receipt.holder {
        Some(_) => saw(receipt) || known.contains(&receipt.deletion.at),
        None => !known.is_empty(),
    });
    receipts
}

/// Hides a delete that the caller had no sight of, or that may be another's. It still bounds what is proved.
fn within(remembered: LastDelete, id: &str, sight: &Sight) -> LastDelete {
    let seen = remembered.seen_by(id, sight);
    let hidden = remembered.deletion.filter(|_| seen.is_none());
    LastDelete {
        deletion: seen,
        since: remembered.since.max(hidden.map(|deletion| deletion.at)),
        ..remembered
    }
}

fn unknown_delete(id: &str, since: Option<Position>) -> Problem {
    let Some(since) = since else {
        return Problem::no_subscription(id);
    };
    let seconds = i64::from(since.cluster_time().time);
    let since = answer::time(bson::DateTime::from_millis(seconds * 1_000));
    Problem::new(
        Kind::SubscriptionNotFound,
        format!("there is no subscription {id:?}, and none with this id was deleted since {since}"),
    )
}

fn report(
    state: &AppState,
    id: &str,
    verdict: &Verdict,
    complete: bool,
    shows_hosts: bool,
) -> Value {
    let nodes = verdict.nodes.iter();
    let nodes: Vec<Value> = nodes.map(|report| node(report, shows_hosts)).collect();
    json!({
        "subscription": id,
        "deletedAt": verdict.deletion.wall_time.map(answer::time),
        "cursor": verdict.deletion.at.cursor(state.router().deployment()),
        "reason": verdict.deletion.ending.map(Ending::token),
        "complete": complete,
        "nodes": nodes,
    })
}

/// Shows a node. Its host and address are for those who may see the nodes.
fn node(report: &Report, shows_hosts: bool) -> Value {
    json!({
        "node": report.node,
        "host": report.host.as_ref().filter(|_| shows_hosts),
        "address": report.address.as_ref().filter(|_| shows_hosts),
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
