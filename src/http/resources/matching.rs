//! `POST /match` and `POST /subscriptions/{id}/match`: a dry run that tells whether an event would be delivered, and why.
//!
//! The filter is compiled by the code that compiles the filters of deliveries, within the same bounds. Nothing is stored
//! or delivered.

pub(super) mod explanation;
mod input;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bson::RawDocumentBuf;

use crate::{
    access::{BoundPolicy, Caller, Policies},
    extjson::write_string,
    filter::{Filter, Limits},
    http::edge::{
        AppState, answer,
        body::{self, BodyReader, ReceivedBody},
        caller::{By, policy_of},
        path_id::Id,
        problem::{Kind, Problem},
        query::Query,
    },
    subscription::{CompiledSubscription, Status},
};

/// Tries a filter in the request.
pub(crate) async fn filter(
    State(state): State<AppState>,
    By(caller): By,
    request: Request,
) -> Result<Response, Problem> {
    let policy = policy_of(&state, &caller)?;
    let limits = state.filter_limits();
    let body = read(&state, &caller, request).await?;
    let filtering = state.bounds.filtering.for_tenant(caller.tenant.as_deref());
    let text = filtering.offload(move || {
        let read = |json: &mut _| input::filter_and_event(json, &limits);
        let (filter, event) = body::json(&body.bytes, read)??;
        explain(&filter, policy.as_ref(), &event, None)
    });
    let answer = answer::json(StatusCode::OK, text.await??);
    Ok(answer::take_share(&state.bounds.answers, caller.tenant.as_deref(), answer).await)
}

/// Tries the filter of a stored subscription, active or paused.
pub(crate) async fn subscription(
    State(state): State<AppState>,
    By(caller): By,
    Id(id): Id,
    request: Request,
) -> Result<Response, Problem> {
    let limits = state.filter_limits();
    let body = read(&state, &caller, request).await?;
    let read = state.store.find_subscription(&id, &caller.sight()).await?;
    let document = read.document.ok_or_else(|| Problem::no_subscription(&id))?;
    let policies = state.router().credentials().policies();
    let filtering = state.bounds.filtering.for_tenant(caller.tenant.as_deref());
    let text = filtering.offload(move || {
        let event = body::json(&body.bytes, |json| input::event(json))??;
        explain_stored(document, &policies, &event, &limits)
    });
    let answer = answer::json(StatusCode::OK, text.await??);
    Ok(answer::take_share(&state.bounds.answers, caller.tenant.as_deref(), answer).await)
}

fn explain_stored(
    document: RawDocumentBuf,
    policies: &Policies,
    event: &RawDocumentBuf,
    limits: &Limits,
) -> Result<String, Problem> {
    let mut compiled = CompiledSubscription::compile(document, limits);
    let policy = policies.of_document(&compiled.subscription.document);
    if let Err(unbound) = &policy {
        compiled.blame(unbound.fault());
    }
    let policy = policy.ok().flatten();
    match compiled.filter() {
        Some(filter) => explain(filter, policy.as_ref(), event, Some(compiled.status())),
        None => Err(Problem::new(
            Kind::SubscriptionInvalid,
            compiled.error().unwrap_or_default(),
        )),
    }
}

async fn read(
    state: &AppState,
    caller: &Caller,
    request: Request,
) -> Result<ReceivedBody, Problem> {
    Query::read(request.uri(), &[])?;
    body::POSTED_JSON.check(request.headers())?;
    let (parts, body) = request.into_parts();
    let reader = BodyReader::new(state, caller, state.limits().body_bytes);
    reader.read(&parts.headers, body).await
}

/// Returns `{matches, explain}`, whether the policy holds if there is one, and the status of the subscription if there is
/// one: a paused one delivers nothing, whatever matches.
fn explain(
    filter: &Filter,
    policy: Option<&BoundPolicy>,
    event: &RawDocumentBuf,
    status: Option<Status>,
) -> Result<String, Problem> {
    let permitted = policy.is_none_or(|policy| policy.permits(event));
    let matches = permitted && filter.matches(event);
    let mut text = format!(r#"{{"matches":{matches},"explain":"#);
    explanation::write(&filter.explain(event), "#/filter", &mut text)?;
    if policy.is_some() {
        text.push_str(r#","policy":{"holds":"#);
        text.push_str(if permitted { "true}" } else { "false}" });
    }
    if let Some(status) = status {
        text.push_str(r#","status":"#);
        write_string(status.as_str(), &mut text);
    }
    text.push('}');
    Ok(text)
}
