//! `GET /subscriptions/{id}/events` as a page: the stored events that the filter matches.
//!
//! MongoDB finds them, since the filter is a query of its own, and the filter that delivers has the
//! last word on each. What was stored before the subscription counts too: a page shows what the
//! filter would have delivered, whatever the subscription's status.

use axum::{
    http::{StatusCode, Uri},
    response::Response,
};
use bson::Document;

use super::{
    AppState, answer, events,
    known::not_found,
    page::bad_cursor,
    problem::{Kind, Problem},
    query::{Query, bad},
    subscriptions::judged_one,
};
use crate::{
    store::{EventQuery, PageKey},
    subscription::FILTER_MISSING,
};

/// One page.
pub(super) async fn page(state: &AppState, id: &str, uri: &Uri) -> Result<Response, Problem> {
    let mut query = read(state, uri)?;
    let read = state.store.find_subscription(id).await?;
    let document = read.document.ok_or_else(not_found)?;
    let compiled = judged_one(state, document).await?;
    if let Some(fault) = compiled.error() {
        return Err(Problem::new(Kind::SubscriptionInvalid, fault));
    }
    let (Some(filter), Some(stored)) = (compiled.filter(), compiled.subscription.filter()) else {
        return Err(Problem::new(Kind::SubscriptionInvalid, FILTER_MISSING));
    };
    query.filter = Some(Document::try_from(stored)?);
    let page = events::page(state, query, |event| filter.matches(event)).await?;
    Ok(answer::json(StatusCode::OK, page))
}

fn read(state: &AppState, uri: &Uri) -> Result<EventQuery, Problem> {
    let query = Query::read(uri, &["after", "before", "order", "limit"])?;
    let limits = &state.host.config.limits;
    let key = |name| {
        let key = query
            .get(name)
            .map(|text| PageKey::decode(text).map_err(|_| bad_cursor(name)));
        key.transpose()
    };
    let newest_first = match query.get("order") {
        None | Some("asc") => false,
        Some("desc") => true,
        Some(_) => return Err(bad("order", "must be asc or desc")),
    };
    Ok(EventQuery {
        after: key("after")?,
        before: key("before")?,
        newest_first,
        limit: query.limit(limits.page_items_default, limits.page_items)?,
        ..EventQuery::default()
    })
}
