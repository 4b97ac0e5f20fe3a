//! `GET /events`: what was published, oldest first.

use axum::{
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};
use bson::{Document, RawDocumentBuf};

use super::page::page;
use crate::{
    extjson::{parse_json, to_document},
    filter::Filter,
    http::{
        AppState, answer,
        page::bad_cursor,
        problem::{Kind, Problem},
        query::{Query, bad},
    },
    router::filter_limits,
    store::{EventQuery, PageKey},
};

/// One page of events.
pub(crate) async fn list(State(state): State<AppState>, uri: Uri) -> Result<Response, Problem> {
    let query = read(&state, &uri)?;
    let page = page(&state, query, |_| true).await?;
    Ok(answer::json(StatusCode::OK, page))
}

fn read(state: &AppState, uri: &Uri) -> Result<EventQuery, Problem> {
    let known = ["type", "source", "subject", "filter", "after", "limit"];
    let query = Query::read(uri, &known)?;
    let limits = &state.host.config.limits;
    let text = |name| query.get(name).map(ToOwned::to_owned);
    let after = query
        .get("after")
        .map(|cursor| PageKey::decode(cursor).map_err(|_| bad_cursor("after")));
    let filter = query.get("filter").map(|text| filter(state, text));
    Ok(EventQuery {
        after: after.transpose()?,
        before: None,
        newest_first: false,
        type_: text("type"),
        source: text("source"),
        subject: text("subject"),
        filter: filter.transpose()?,
        limit: query.limit(limits.page_items_default, limits.page_items)?,
    })
}

/// A filter in the query: the language is that of subscriptions, held to the same bounds.
fn filter(state: &AppState, text: &str) -> Result<Document, Problem> {
    let refuse = |pointer: &str, detail: &str| {
        let detail = format!("{pointer} {detail}");
        Problem::parameter(Kind::InvalidRequest, "filter", detail.trim_start())
    };
    let value = parse_json(text.as_bytes())
        .map_err(|error| bad("filter", format!("is not JSON: {error}")))?;
    let document =
        to_document(value, "#").map_err(|fault| refuse(&fault.pointer, &fault.detail))?;
    let raw =
        RawDocumentBuf::try_from(&document).map_err(|error| refuse("", &error.to_string()))?;
    Filter::parse_with(&raw, &filter_limits(&state.host.config.limits))
        .map_err(|error| refuse(&format!("#{}", error.pointer), &error.reason))?;
    Ok(document)
}
