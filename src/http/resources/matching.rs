//! `POST /match` and `POST /subscriptions/{id}/match`: would this event be delivered, and why.
//!
//! The answer comes from the very filter that delivers: compiled by the same code within the same
//! bounds. Nothing is stored and nobody is told.

mod explanation;
mod input;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bson::RawDocumentBuf;

use crate::{
    extjson::write_string,
    filter::{Filter, Limits},
    http::edge::{
        AppState, answer,
        body::{self, Reader, Received},
        path_id::Id,
        problem::{Kind, Problem},
        query::Query,
    },
    subscription::{CompiledSubscription, Status},
};

/// A filter of the request's.
pub(crate) async fn filter(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    let limits = state.filter_limits();
    let body = read(&state, request).await?;
    let text = state.bounds.filtering.aside(move || {
        let read = |json: &mut _| input::filter_and_event(json, &limits);
        let (filter, event) = body::json(&body.bytes, read)??;
        explained(&filter, &event, None)
    });
    let answer = answer::json(StatusCode::OK, text.await??);
    Ok(answer::counted(&state.bounds.answers, answer).await)
}

/// The filter of a stored subscription, whether it is active or paused.
pub(crate) async fn subscription(
    State(state): State<AppState>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Problem> {
    let limits = state.filter_limits();
    let body = read(&state, request).await?;
    let read = state.store.find_subscription(&id).await?;
    let document = read.document.ok_or_else(|| not_found(&id))?;
    let text = state.bounds.filtering.aside(move || {
        let event = body::json(&body.bytes, |json| input::event(json))??;
        of_stored(document, &event, &limits)
    });
    let answer = answer::json(StatusCode::OK, text.await??);
    Ok(answer::counted(&state.bounds.answers, answer).await)
}

fn of_stored(
    document: RawDocumentBuf,
    event: &RawDocumentBuf,
    limits: &Limits,
) -> Result<String, Problem> {
    let compiled = CompiledSubscription::compile(document, limits);
    match compiled.filter() {
        Some(filter) => explained(filter, event, Some(compiled.status())),
        None => Err(Problem::new(
            Kind::SubscriptionInvalid,
            compiled.error().unwrap_or_default(),
        )),
    }
}

fn not_found(id: &str) -> Problem {
    Problem::new(
        Kind::SubscriptionNotFound,
        format!("there is no subscription {id:?}"),
    )
}

async fn read(state: &AppState, request: Request) -> Result<Received, Problem> {
    Query::read(request.uri(), &[])?;
    body::POSTED_JSON.check(request.headers())?;
    let (parts, body) = request.into_parts();
    let reader = Reader::new(state, state.limits().body_bytes);
    reader.read(&parts.headers, body).await
}

/// `{matches, explain}`, and the status of the subscription where there is one: a paused one
/// delivers nothing, whatever matches.
fn explained(
    filter: &Filter,
    event: &RawDocumentBuf,
    status: Option<Status>,
) -> Result<String, Problem> {
    let matches = filter.matches(event);
    let mut text = format!(r#"{{"matches":{matches},"explain":"#);
    explanation::write(&filter.explain(event), &mut text)?;
    if let Some(status) = status {
        text.push_str(r#","status":"#);
        write_string(status.as_str(), &mut text);
    }
    text.push('}');
    Ok(text)
}
