//! Whether the router knows a subscription.

use super::{
    AppState,
    problem::{Kind, Problem},
};

/// A subscription that the router does not know may have been made a moment ago through another
/// node: the database is asked, and the feed waited for, before this says 404.
pub(super) async fn known(state: &AppState, id: &str) -> Result<(), Problem> {
    if state.host.router.has(id).await {
        return Ok(());
    }
    let read = state.store.find_subscription(id).await?;
    if read.document.is_none() {
        return Err(not_found());
    }
    let patience = state.host.config.limits.applied_timeout;
    if state
        .host
        .router
        .applied(read.operation_time, patience)
        .await
    {
        return Ok(());
    }
    Err(Problem::new(
        Kind::NotReady,
        "this node has not seen the subscription yet",
    ))
}

/// There is no such subscription.
pub(super) fn not_found() -> Problem {
    Problem::new(Kind::SubscriptionNotFound, "no subscription has this id")
}
