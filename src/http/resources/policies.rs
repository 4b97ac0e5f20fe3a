//! Row policies over REST. They are operators': what a policy says decides what others see.

mod input;
mod shown;
mod trial;
mod writes;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::Response,
};

pub(crate) use self::writes::{delete, put};
use crate::{
    http::edge::{
        AppState, answer,
        body::{self, BodyReader},
        caller::By,
        conditional::Preconditions,
        page_cursor,
        path_id::Id,
        problem::{Kind, Problem},
        query::Query,
    },
    subscription::etag,
};

/// `GET /policies`: lists policies in the order of their names.
pub(crate) async fn list(State(state): State<AppState>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::read(&uri, &["limit", "cursor"])?;
    let limits = state.limits();
    let after = match query.get("cursor").map(page_cursor::decode).transpose()? {
        None => None,
        Some(bson::Bson::String(name)) => Some(name),
        Some(_) => return Err(page_cursor::bad_cursor("cursor")),
    };
    let limit = query.limit(limits.page_items_default, limits.page_items)?;
    let permit = state.bounds.paging.for_operators().acquire().await?;
    let listing = state
        .store
        .list_policies(after.as_deref(), limit + 1, limits.page_bytes);
    let mut listed = listing.await?;
    let more = listed.documents.len() > limit || !listed.exhausted;
    listed.documents.truncate(limit);
    let filtering = state.bounds.filtering.for_operators();
    let text = filtering
        .offload(move || shown::page(&listed.documents, more))
        .await??;
    drop(permit);
    Ok(answer::json(StatusCode::OK, text))
}

/// `GET /policies/{id}`: shows a policy as it is stored, and what is wrong with it.
pub(crate) async fn get(
    State(state): State<AppState>,
    Id(name): Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let conditions = Preconditions::read(&headers)?;
    let read = state.store.find_policy(&name).await?;
    let document = read.document.ok_or_else(|| no_policy(&name))?;
    let etag = etag(&document);
    conditions.check_match(&etag)?;
    if conditions.not_modified(&etag) {
        return answer::not_modified(&etag);
    }
    let show = move || shown::policy(&document);
    let filtering = state.bounds.filtering.for_operators();
    let text = filtering.offload(show).await??;
    let mut response = answer::json(StatusCode::OK, text);
    answer::add_header(&mut response, header::ETAG, &etag)?;
    Ok(response)
}

/// `POST /policies/{id}/match`: tells whether a caller with certain claims would receive an event, and why.
pub(crate) async fn dry_run(
    State(state): State<AppState>,
    By(caller): By,
    Id(name): Id,
    request: Request,
) -> Result<Response, Problem> {
    Query::read(request.uri(), &[])?;
    body::POSTED_JSON.check(request.headers())?;
    let (parts, body) = request.into_parts();
    let reader = BodyReader::new(&state, &caller, state.limits().body_bytes);
    let body = reader.read(&parts.headers, body).await?;
    let read = state.store.find_policy(&name).await?;
    let document = read.document.ok_or_else(|| no_policy(&name))?;
    let limits = state.filter_limits();
    let try_it = move || input::trial(&body.bytes, &limits)?.on(&document);
    let filtering = state.bounds.filtering.for_operators();
    let text = filtering.offload(try_it).await??;
    let answer = answer::json(StatusCode::OK, text);
    Ok(answer::take_share(&state.bounds.answers, caller.tenant.as_deref(), answer).await)
}

fn no_policy(name: &str) -> Problem {
    Problem::new(Kind::PolicyNotFound, format!("there is no policy {name:?}"))
}
