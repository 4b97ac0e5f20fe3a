//! Whether the router knows a subscription.

use bson::Timestamp;

use super::{
    problem::{Kind, Problem},
    state::AppState,
};

/// A subscription that the router does not know may have been made a moment ago through another
/// node: the database is asked, and the feed waited for, before this says 404.
pub(crate) async fn known(state: &AppState, id: &str) -> Result<(), Problem> {
    if state.router().has(id).await? {
        return Ok(());
    }
    let read = state.store.find_subscription(id).await?;
    if read.document.is_none() {
        return Err(not_found());
    }
    let unseen = "this node has not seen the subscription yet";
    seen(state, read.operation_time, unseen).await
}

/// Waits until the router has applied everything up to `time`; a problem that says what is `unseen` where
/// that takes too long.
pub(crate) async fn seen(
    state: &AppState,
    time: Timestamp,
    unseen: &'static str,
) -> Result<(), Problem> {
    let patience = state.limits().applied_timeout;
    if state.router().applied(time, patience).await {
        return Ok(());
    }
    Err(Problem::new(Kind::NotReady, unseen))
}

/// There is no such subscription.
pub(crate) fn not_found() -> Problem {
    Problem::new(Kind::SubscriptionNotFound, "no subscription has this id")
}
