//! `GET /audit`: who did what to keys, policies, revocations and subscriptions.

use axum::{
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};
use bson::{Bson, DateTime, RawDocument, doc};
use serde_json::{Map, Value, json};

use crate::{
    extjson::read_time,
    http::edge::{
        AppState, answer,
        caller::By,
        page_cursor,
        problem::{Kind, Problem},
        query::{Query, bad},
    },
    store::AuditQuery,
    subscription::DocumentKey,
};

const PARAMETERS: [&str; 8] = [
    "act", "actor", "target", "tenant", "since", "until", "limit", "cursor",
];
const SHOWN: [&str; 8] = [
    "at", "act", "actor", "target", "tenant", "outcome", "request", "changed",
];

/// Lists the entries, newest first.
pub(crate) async fn list(
    State(state): State<AppState>,
    By(caller): By,
    uri: Uri,
) -> Result<Response, Problem> {
    if !caller.is_operator() {
        let detail = "the audit is for operators";
        return Err(Problem::new(Kind::Forbidden, detail));
    }
    let query = Query::read(&uri, &PARAMETERS)?;
    let limits = state.limits();
    let limit = query.limit(limits.page_items_default, limits.page_items)?;
    let text = |name| query.get(name).map(str::to_owned);
    let asked = AuditQuery {
        act: text("act"),
        actor: text("actor"),
        target: text("target"),
        tenant: text("tenant"),
        since: time(&query, "since")?,
        until: time(&query, "until")?,
        after: after(&query)?,
        limit: limit + 1,
    };
    let permit = state.bounds.paging.for_operators().acquire().await?;
    let entries = state.store.list_audit(&asked).await?;
    drop(permit);
    let page = &entries[..entries.len().min(limit)];
    let next = match page.last().and_then(place) {
        Some(last) if entries.len() > limit => Some(page_cursor::encode(&last)?),
        _ => None,
    };
    let items: Vec<_> = page.iter().map(|entry| show(entry)).collect();
    let document = json!({"items": items, "nextCursor": next});
    Ok(answer::json(StatusCode::OK, document.to_string()))
}

fn time(query: &Query, name: &str) -> Result<Option<DateTime>, Problem> {
    let Some(text) = query.get(name) else {
        return Ok(None);
    };
    let time = read_time(text);
    let time = time.ok_or_else(|| bad(name, "must be a time such as 2026-11-30T12:00:00Z"))?;
    Ok(Some(time))
}

/// Returns the place of an entry in the order of the list.
fn place(entry: &bson::RawDocumentBuf) -> Option<Bson> {
    let at = entry.get_datetime("at").ok()?;
    let id = DocumentKey::of(entry).to_bson()?;
    Some(doc! {"at": at, "id": id}.into())
}

fn after(query: &Query) -> Result<Option<(DateTime, Bson)>, Problem> {
    let Some(cursor) = query.get("cursor") else {
        return Ok(None);
    };
    let place = match page_cursor::decode(cursor)? {
        Bson::Document(mut place) => (place.remove("at"), place.remove("id")),
        _ => (None, None),
    };
    match place {
        (Some(Bson::DateTime(at)), Some(id)) => Ok(Some((at, id))),
        _ => Err(page_cursor::bad_cursor("cursor")),
    }
}

fn show(entry: &RawDocument) -> Value {
    let mut shown = Map::new();
    shown.insert("id".to_owned(), DocumentKey::of(entry).to_string().into());
    for name in SHOWN {
        let value = answer::stored_value(entry, name);
        shown.insert(name.to_owned(), value);
    }
    shown.into()
}
