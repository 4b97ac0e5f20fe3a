//! `GET /subscriptions/{id}/events` as a page: the stored events that match the filter.
//!
//! The filter is a MongoDB query, so MongoDB finds the events, and the filter that delivers has the last word on each.
//! Events from before the subscription count, too: a page shows what the filter would have delivered, whatever the
//! status of the subscription.

use axum::{http::Uri, response::Response};

use super::page::{self, Search};
use crate::{
    access::Caller,
    http::{
        edge::{
            AppState,
            caller::{as_of, is_current, may_receive, policy_of_document},
            page_cursor::bad_cursor,
            problem::{Kind, Problem},
            query::{Query, bad},
        },
        resources::subscriptions::judge::judge_one,
    },
    store::{EventQuery, PageKey},
    subscription::FILTER_MISSING,
};

/// Lists past matches, a page at a time.
pub(crate) async fn list(
    state: &AppState,
    id: &str,
    caller: &Caller,
    uri: &Uri,
) -> Result<Response, Problem> {
    is_current(state)?;
    let mut search = read(state, uri)?;
    search.query.as_of = as_of(state, caller)?;
    let read = state.store.find_subscription(id, &caller.sight()).await?;
    let document = read.document.ok_or_else(|| Problem::no_subscription(id))?;
    may_receive(state, caller, &document)?;
    let compiled = judge_one(state, caller.tenant.as_deref(), document).await?;
    if let Some(fault) = compiled.error() {
        return Err(Problem::new(Kind::SubscriptionInvalid, fault));
    }
    let (Some(filter), Some(stored)) = (compiled.filter(), compiled.subscription.filter()) else {
        return Err(Problem::new(Kind::SubscriptionInvalid, FILTER_MISSING));
    };
    let policy = policy_of_document(state, &compiled.subscription.document)?;
    let search = search.filtered(stored, filter.clone()).under(policy);
    page::answer(state, caller, search).await
}

fn read(state: &AppState, uri: &Uri) -> Result<Search, Problem> {
    let query = Query::read(uri, &["after", "before", "order", "limit"])?;
    let limits = state.limits();
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
    let limit = query.limit(limits.page_items_default, limits.page_items)?;
    Ok(Search {
        query: EventQuery {
            after: key("after")?,
            before: key("before")?,
            newest_first,
            limit: Some(limit + 1),
            time_limit: Some(limits.search_timeout),
            ..EventQuery::default()
        },
        filter: None,
        policy: None,
        limit,
    })
}
