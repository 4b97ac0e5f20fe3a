//! Reading your own writes: an answer waits, within bounds, until this node has applied what was written.

use axum::{
    http::{HeaderName, HeaderValue},
    response::Response,
};
use bson::Timestamp;

use super::{
    problem::{Kind, Problem},
    state::AppState,
};
use crate::access::Sight;

/// The header with `false` where the answering node has not applied the write yet.
pub(crate) const APPLIED: HeaderName = HeaderName::from_static("tidegate-applied");

/// Ensures that this node's router knows a subscription in sight. If it does not, another node may have created the
/// subscription a moment ago: the database is asked, and the feed waited for, before this says 404.
pub(crate) async fn ensure_visible(
    state: &AppState,
    id: &str,
    sight: &Sight,
) -> Result<(), Problem> {
    if state.router().has(id, sight).await? {
        return Ok(());
    }
    // Boxed: it is large and seldom needed, and every connecting client would have room for it.
    Box::pin(wait_for_subscription(state, id, sight)).await
}

async fn wait_for_subscription(state: &AppState, id: &str, sight: &Sight) -> Result<(), Problem> {
    let read = state.store.find_subscription(id, sight).await?;
    if read.document.is_none() {
        return Err(Problem::no_subscription(id));
    }
    let late = "this node has not seen the subscription yet";
    ensure_applied(state, read.operation_time, late).await
}

/// Waits until the router has applied everything up to `time`. If that takes too long, `late` is the detail of the
/// refusal.
pub(crate) async fn ensure_applied(
    state: &AppState,
    time: Timestamp,
    late: &'static str,
) -> Result<(), Problem> {
    let timeout = state.limits().applied_timeout;
    if state.router().applied(time, timeout).await {
        return Ok(());
    }
    Err(Problem::new(Kind::NotReady, late))
}

/// Holds the answer to a write back until this node has applied the write. If that takes too long, the answer says so.
pub(crate) async fn wait_applied(
    state: &AppState,
    time: Timestamp,
    mut response: Response,
) -> Response {
    let timeout = state.limits().applied_timeout;
    if !state.router().applied(time, timeout).await {
        tracing::warn!("a write was answered before this node had applied it");
        mark_unapplied(&mut response);
    }
    response
}

/// Holds the answer to a write of a subscription back until this node has applied it, and has stored the starting
/// position of a durable one: from then on nothing is lost, whichever node dies. If either takes too long, the answer
/// says so.
pub(crate) async fn wait_subscription_applied(
    state: &AppState,
    time: Timestamp,
    response: Response,
) -> Response {
    let mut response = wait_applied(state, time, response).await;
    let timeout = state.limits().applied_timeout;
    if !state.positions().structure_written(timeout).await {
        tracing::warn!("a write was answered before its position was stored");
        mark_unapplied(&mut response);
    }
    response
}

fn mark_unapplied(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(APPLIED, HeaderValue::from_static("false"));
}
