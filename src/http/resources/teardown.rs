//! Teardowns: the state of each node after a right has ended: a subscription or a key was deleted, or a revocation was made.

mod verdict;

use axum::{
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};
use serde_json::{Value, json};

use self::verdict::{Evidence, Report, State as NodeState, Verdict};
use crate::{
    access::{Caller, Holder, Right, RightKind, Scope, Sight},
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
    store::{Deletion, KEYS, MOST_NODES, Read, StoredReceipt},
    subscription::DocumentKey,
};

/// A question for a teardown.
struct Question {
    right: Right,
    /// The part of all rights of this kind that the caller sees.
    sight: Sight,
    shows_hosts: bool,
}

/// `GET /subscriptions/{id}/teardown`: shows the nodes of the last day, each with the state of its sockets of a deleted
/// subscription.
pub(crate) async fn show(
    State(state): State<AppState>,
    By(caller): By,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let question = Question::new(RightKind::Subscription, &id, caller.sight(), &caller);
    let read = state.store.find_subscription(&id, &question.sight).await?;
    if read.document.is_some() {
        return Err(not_deleted("subscription"));
    }
    ensure_seen(&state, &read).await?;
    let remembered = remembered(&state, &question).await?;
    answer(&state, &question, remembered).await
}

/// `GET /keys/{id}/teardown`: shows the nodes of the last day, each with the state of its sockets of a deleted key.
pub(crate) async fn of_key(
    State(state): State<AppState>,
    By(caller): By,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let sight = caller.sight_of_credentials();
    let question = Question::new(RightKind::Key, &id, sight, &caller);
    let key = DocumentKey::Text(id.as_str().into());
    let read = state.store.find_stored(KEYS, &key).await?;
    // One that exists out of sight is like one that is unknown.
    let document = read.document.as_ref();
    if document.is_some_and(|document| question.sight.sees(&id, document)) {
        return Err(not_deleted("key"));
    }
    ensure_seen(&state, &read).await?;
    let remembered = remembered(&state, &question).await?;
    answer(&state, &question, remembered).await
}

/// `GET /revocations/{id}/teardown`: shows the nodes of the last day, each with the state of its sockets of what a
/// revocation names, or has named.
pub(crate) async fn of_revocation(
    State(state): State<AppState>,
    By(caller): By,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let sight = caller.sight_of_credentials();
    let question = Question::new(RightKind::Revocation, &id, sight, &caller);
    let read = state.store.find_revocation(&id).await?;
    ensure_seen(&state, &read).await?;
    let document = read.document.as_ref();
    let Some(document) = document.filter(|document| question.sight.sees(&id, document)) else {
        // It may have been there: taken back or expired, it has still ended what it named.
        let remembered = remembered(&state, &question).await?;
        return answer(&state, &question, remembered).await;
    };
    let mut known = find(&state, &question.right).await?;
    if known.deletion.is_none() {
        // It is stored, and was not made since this node's memory begins: it was made before.
        known.deletion = known.since.map(|at| Deletion {
            at,
            wall_time: None,
            ending: None,
        });
        known.holder = Some(Holder::of(document));
    }
    answer(&state, &question, (known, true)).await
}

impl Question {
    fn new(kind: RightKind, id: &str, sight: Sight, caller: &Caller) -> Self {
        Self {
            right: Right::of(kind, id),
            sight,
            shows_hosts: caller.may(Scope::Metrics),
        }
    }

    /// Returns what is said of a right of which nothing is known, and of one out of sight.
    fn unknown(&self, since: Option<Position>) -> Problem {
        let id = &*self.right.id;
        let (kind, name) = match self.right.kind {
            RightKind::Subscription => (Kind::SubscriptionNotFound, "subscription"),
            RightKind::Key => (Kind::KeyNotFound, "key"),
            RightKind::Revocation => (Kind::RevocationNotFound, "revocation"),
        };
        let Some(since) = since else {
            return Problem::new(kind, format!("there is no {name} {id:?}"));
        };
        let seconds = i64::from(since.cluster_time().time);
        let since = answer::time(bson::DateTime::from_millis(seconds * 1_000));
        let detail =
            format!("there is no {name} {id:?}, and none with this id was deleted since {since}");
        Problem::new(kind, detail)
    }
}

fn not_deleted(name: &str) -> Problem {
    let detail = format!("a {name} with this id exists; it may have sockets");
    Problem::new(Kind::NotDeleted, detail)
}

/// Ensures that this node has applied what a read shows.
async fn ensure_seen(state: &AppState, read: &Read) -> Result<(), Problem> {
    let late = "this node has not seen the change yet";
    ensure_applied(state, read.operation_time, late).await
}

/// Judges what is known of a right that has ended. With it comes whether this node has learned all that it can.
async fn answer(
    state: &AppState,
    question: &Question,
    (remembered, is_complete): (LastDelete, bool),
) -> Result<Response, Problem> {
    let since = remembered.since;
    let evidence = gather(state, question, remembered).await?;
    let Some(verdict) = evidence.judge() else {
        return Err(if is_complete {
            question.unknown(since)
        } else {
            Problem::new(
                Kind::NotReady,
                "this node has just started and is still reading the deletes of the last day; try again",
            )
        });
    };
    let complete = verdict.complete() && evidence.nodes.len() < MOST_NODES;
    let body = report(state, question, &verdict, complete);
    Ok(answer::json(StatusCode::OK, body.to_string()))
}

async fn find(state: &AppState, right: &Right) -> Result<LastDelete, Problem> {
    let found = state.receipts.find(right).await;
    found.ok_or_else(|| Problem::new(Kind::NotReady, "this node is stopping"))
}

/// Returns what this node remembers of the delete, and whether it has learned all that it can. A delete that the caller had
/// no sight of is waited for like one that is unknown.
async fn remembered(state: &AppState, question: &Question) -> Result<(LastDelete, bool), Problem> {
    let right = &question.right;
    let found = find(state, right).await?;
    if found.seen_by(&right.id, &question.sight).is_some() {
        return Ok((found, true));
    }
    let patience = state.limits().database_timeout;
    let is_complete = state.delete_history.wait_read(patience).await;
    Ok((find(state, right).await?, is_complete))
}

/// Reads the evidence in the opposite order of its writing: a receipt is written before the heartbeat that vouches for
/// it, so the heartbeats are read first.
async fn gather(
    state: &AppState,
    Question { right, sight, .. }: &Question,
    remembered: LastDelete,
) -> Result<Evidence, Problem> {
    let router = state.router().progress();
    let applied = router.loaded.then_some(router.position);
    let own = state.receipts.progress(applied).await;
    let nodes = state.store.nodes().await?;
    let receipts = state.store.receipts_of(right).await?;
    let receipts = visible(receipts, &remembered, &right.id, sight);
    let remembered = within(remembered, &right.id, sight);
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

fn report(state: &AppState, question: &Question, verdict: &Verdict, complete: bool) -> Value {
    let nodes = verdict.nodes.iter();
    let nodes: Vec<Value> = nodes.map(|one| node(one, question.shows_hosts)).collect();
    let time = verdict.deletion.wall_time.map(answer::time);
    let mut shown = json!({
        "cursor": verdict.deletion.at.cursor(state.router().deployment()),
        "complete": complete,
        "nodes": nodes,
    });
    let right = &question.right;
    shown[right.kind.as_str()] = (&*right.id).into();
    if right.kind == RightKind::Revocation {
        shown["revokedAt"] = json!(time);
    } else {
        shown["deletedAt"] = json!(time);
        shown["reason"] = json!(verdict.deletion.ending.map(Ending::token));
    }
    shown
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
