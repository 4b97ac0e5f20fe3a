//! `GET /events`: the published events, oldest first.

use std::fmt::Display;

use axum::{extract::State, http::Uri, response::Response};
use bson::{RawBson, RawDocumentBuf};

use super::page::{self, Search};
use crate::{
    access::Caller,
    extjson::{Faults, ReadOutcome, read_value},
    filter::{Filter, Limits},
    http::edge::{
        AppState,
        caller::{By, as_of, may_read_events, policy_of},
        page_cursor::bad_cursor,
        problem::{Kind, Problem},
        query::{Query, bad},
    },
    store::{EventQuery, PageKey},
};

/// Lists events, a page at a time.
pub(crate) async fn list(
    State(state): State<AppState>,
    By(caller): By,
    uri: Uri,
) -> Result<Response, Problem> {
    may_read_events(&state, &caller)?;
    let mut search = read(&state, &caller, &uri).await?;
    search.query.as_of = as_of(&state, &caller)?;
    let search = search.under(policy_of(&state, &caller)?);
    page::answer(&state, &caller, search).await
}

async fn read(state: &AppState, caller: &Caller, uri: &Uri) -> Result<Search, Problem> {
    let known = ["type", "source", "subject", "filter", "after", "limit"];
    let query = Query::read(uri, &known)?;
    let limits = state.limits();
    let text = |name| query.get(name).map(ToOwned::to_owned);
    let after = query
        .get("after")
        .map(|cursor| PageKey::decode(cursor).map_err(|_| bad_cursor("after")));
    let limit = query.limit(limits.page_items_default, limits.page_items)?;
    let search = Search {
        query: EventQuery {
            after: after.transpose()?,
            type_: text("type"),
            source: text("source"),
            subject: text("subject"),
            limit: Some(limit + 1),
            time_limit: Some(limits.search_timeout),
            ..EventQuery::default()
        },
        filter: None,
        policy: None,
        limit,
    };
    let Some(filter) = text("filter") else {
        return Ok(search);
    };
    let limits = Limits::from(limits);
    let read = move || read_filter(&filter, &limits);
    let filtering = state.bounds.filtering.for_tenant(caller.tenant.as_deref());
    let (document, filter) = filtering.offload(read).await??;
    Ok(search.filtered(&document, filter))
}

/// Reads the filter in the query. Language and bounds are those of subscriptions.
fn read_filter(text: &str, limits: &Limits) -> Result<(RawDocumentBuf, Filter), Problem> {
    let refuse = |pointer: &dyn Display, detail: &dyn Display| {
        let detail = format!("{pointer} {detail}");
        Problem::parameter(Kind::InvalidRequest, "filter", detail.trim_start())
    };
    let mut faults = Faults::default();
    let most = limits.filter_bytes;
    let read = read_value(text.as_bytes(), most, &mut faults);
    let read = read.map_err(|error| bad("filter", format!("is not JSON: {error}")))?;
    if let Some(fault) = faults.into_iter().next() {
        return Err(refuse(&fault.pointer, &fault.detail));
    }
    let ReadOutcome::Value(RawBson::Document(document)) = read else {
        let detail = match read {
            ReadOutcome::TooLarge => {
                format!("is larger than {most} bytes as BSON")
            }
            _ => "must be an object".to_owned(),
        };
        return Err(refuse(&"#", &detail));
    };
    let filter = Filter::parse_with(&document, limits)
        .map_err(|error| refuse(&format_args!("#{}", error.pointer), &error.reason))?;
    Ok((document, filter))
}
