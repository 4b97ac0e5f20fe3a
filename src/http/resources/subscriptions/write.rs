//! What the answers to writes have in common: they wait for this node to have applied the write.

use axum::{http::StatusCode, response::Response};
use bson::RawDocumentBuf;

use crate::{
    http::edge::{
        AppState, answer,
        observe::WRITES,
        problem::{Kind, Problem},
    },
    router::Capacity,
    store::{Read, Written},
    subscription::CompiledSubscription,
};

/// A stored document as every node sees it.
pub(super) fn compiled(state: &AppState, document: RawDocumentBuf) -> CompiledSubscription {
    CompiledSubscription::compile(document, &state.filter_limits())
}

/// Stored documents as this node sees them: another one may stand in the way of one that is sound by itself.
pub(crate) async fn judged(
    state: &AppState,
    documents: Vec<RawDocumentBuf>,
) -> Result<Vec<CompiledSubscription>, Problem> {
    let limits = state.filter_limits();
    let read = move || {
        let documents = documents.into_iter();
        documents
            .map(|document| CompiledSubscription::compile(document, &limits))
            .collect()
    };
    let read = state.bounds.filtering.aside(read).await?;
    Ok(state.router().judge(read).await?)
}

/// One of them.
pub(crate) async fn judged_one(
    state: &AppState,
    document: RawDocumentBuf,
) -> Result<CompiledSubscription, Problem> {
    let judged = judged(state, vec![document]).await?.pop();
    judged.ok_or_else(|| Problem::new(Kind::NotReady, "this node is stopping"))
}

/// Refuses where this node has no room for so many more subscriptions: it could not answer for them.
pub(super) fn check_room(state: &AppState, more: usize) -> Result<(), Problem> {
    let occupancy = *state.router().occupancy().borrow();
    let more = Capacity {
        subscriptions: more,
        bytes: 0,
    };
    if occupancy.has_room_for(more) && occupancy.held.bytes < occupancy.most.bytes {
        return Ok(());
    }
    Err(Problem::new(
        Kind::Overloaded,
        "this node holds as many subscriptions as limits.subscriptions and limits.subscriptions_bytes allow",
    ))
}

/// Answers a write with the document as it is stored now.
pub(super) async fn written(
    state: &AppState,
    status: StatusCode,
    written: Written,
    warnings: &[String],
) -> Result<Response, Problem> {
    let compiled = compiled(state, written.document);
    let id = compiled.subscription.id();
    let id = id.as_deref().unwrap_or_default();
    if status == StatusCode::CREATED {
        tracing::debug!(target: WRITES, id, "a subscription was created");
    } else {
        tracing::debug!(target: WRITES, id, "a subscription was changed");
    }
    let response = answer::subscription(status, &compiled, warnings)?;
    Ok(answer::settled(state, written.operation_time, response).await)
}

/// Answers a write that changes nothing. What was read may be newer than what this node has applied;
/// an old document is applied long since, and is not to wait for an idle feed.
pub(super) async fn unchanged(
    state: &AppState,
    read: Read,
    document: RawDocumentBuf,
    warnings: &[String],
) -> Result<Response, Problem> {
    // One that is too busy to say is waited for as for any write.
    let known = state.router().knows(&document).await == Ok(true);
    let response = answer::subscription(StatusCode::OK, &compiled(state, document), warnings)?;
    if known {
        return Ok(response);
    }
    Ok(answer::settled(state, read.operation_time, response).await)
}
