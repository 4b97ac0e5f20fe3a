//! The common parts of all writes: the check for room, and the answer once this node has applied the write.

use axum::{
    http::{StatusCode, header},
    response::Response,
};
use bson::{RawDocument, RawDocumentBuf};

use super::input::CheckedInput;
use crate::{
    access::{Caller, TENANT},
    http::edge::{
        AppState, answer,
        observe::WRITES,
        paths::{BASE, segment},
        problem::{Kind, Problem},
        read_your_writes::wait_subscription_applied,
    },
    router::Capacity,
    store::{Read, Written},
    subscription::{CompiledSubscription, Subscription},
};

/// Refuses the request if this node has no room for this many more subscriptions: it could not serve them.
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

/// Refuses an id that the caller could not reach if it were there: a credential may be for certain subscriptions alone.
pub(super) fn check_within(caller: &Caller, id: &str) -> Result<(), Problem> {
    if caller.reach().sees_id(id) {
        return Ok(());
    }
    let detail = "the credential is for other subscriptions";
    Err(Problem::new(Kind::Forbidden, detail))
}

/// Answers a write with the document as it is stored now.
pub(super) async fn answer_written(
    state: &AppState,
    status: StatusCode,
    written: Written,
    checked: &CheckedInput,
) -> Result<Response, Problem> {
    let subscription = read_stored(state, written.document, checked.filter.as_deref()).await?;
    let id = subscription.id();
    let id = id.as_deref().unwrap_or_default();
    if status == StatusCode::CREATED {
        tracing::debug!(target: WRITES, id, "a subscription was created");
    } else {
        tracing::debug!(target: WRITES, id, "a subscription was changed");
    }
    let response = answer_subscription(status, &subscription, &checked.warnings)?;
    Ok(wait_subscription_applied(state, written.operation_time, response).await)
}

/// Answers a write that changes nothing. The document may be newer than what this node has applied. An old one was
/// applied long ago, so its answer need not wait for an idle feed.
pub(super) async fn answer_unchanged(
    state: &AppState,
    read: Read,
    document: RawDocumentBuf,
    checked: &CheckedInput,
) -> Result<Response, Problem> {
    // A router that is too busy to say is waited for as after any write.
    let is_applied = state.router().knows(&document).await == Ok(true);
    let subscription = read_stored(state, document, checked.filter.as_deref()).await?;
    let response = answer_subscription(StatusCode::OK, &subscription, &checked.warnings)?;
    if is_applied {
        return Ok(response);
    }
    Ok(wait_subscription_applied(state, read.operation_time, response).await)
}

/// Reads a stored document as every node does. Its filter is compiled only if it is not the `checked` one: the request
/// may name none, or another program may have changed it since.
pub(super) async fn read_stored(
    state: &AppState,
    document: RawDocumentBuf,
    checked: Option<&RawDocument>,
) -> Result<Subscription, Problem> {
    let policies = state.router().credentials().policies();
    if has_filter(&document, checked) {
        return Ok(Subscription::with_compiled_filter(document).under(&policies));
    }
    let limits = state.filter_limits();
    let tenant = document.get_str(TENANT).ok();
    let filtering = state.bounds.filtering.for_tenant(tenant);
    let compile = move || CompiledSubscription::compile(document, &limits).subscription;
    let read = filtering.offload_anyway(compile).await?;
    Ok(read.under(&policies))
}

fn has_filter(document: &RawDocument, filter: Option<&RawDocument>) -> bool {
    let stored = document.get_document("filter").ok();
    filter.is_some() && stored.map(RawDocument::as_bytes) == filter.map(RawDocument::as_bytes)
}

/// Returns a subscription with its entity tag, and with its address if it was created.
pub(super) fn answer_subscription(
    status: StatusCode,
    subscription: &Subscription,
    warnings: &[String],
) -> Result<Response, Problem> {
    let mut response = answer::json(status, subscription.to_json_with(warnings));
    answer::add_header(&mut response, header::ETAG, &subscription.etag())?;
    if let (StatusCode::CREATED, Some(id)) = (status, subscription.id()) {
        let location = format!("{BASE}/subscriptions/{}", segment(&id));
        answer::add_header(&mut response, header::LOCATION, &location)?;
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Document, doc};

    #[test]
    fn a_filter_counts_as_checked_as_long_as_it_is_the_same() {
        let raw = |document: &Document| RawDocumentBuf::try_from(document).unwrap();
        let filter = raw(&doc! {"a": 1, "b": {"$gt": 2.5}});
        let has_filter = |document: &Document| has_filter(&raw(document), Some(&filter));
        assert!(has_filter(
            &doc! {"_id": "x", "filter": {"a": 1, "b": {"$gt": 2.5}}}
        ));
        for other in [
            doc! {"filter": {"b": {"$gt": 2.5}, "a": 1}},
            doc! {"filter": {"a": 1}},
            doc! {"filter": 1},
            doc! {"_id": "x"},
        ] {
            assert!(!has_filter(&other), "{other}");
        }
        assert!(!super::has_filter(&raw(&doc! {}), None));
    }
}
