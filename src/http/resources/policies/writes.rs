//! `PUT /policies/{id}` and `DELETE /policies/{id}`.

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::Response,
};
use bson::RawDocumentBuf;
use tokio::time::Instant;

use super::{input, no_policy, shown};
use crate::{
    access::CredentialKind,
    http::edge::{
        AppState,
        acting::Acting,
        answer,
        body::{self, BodyReader},
        conditional::Preconditions,
        credential_room::check_room,
        path_id::Id,
        paths::{BASE, segment},
        problem::{Kind, Problem},
        query::Query,
        read_your_writes::wait_applied,
    },
    store::{Actor, Deleted, StoreError, Written},
    subscription::{etag, input::check_id},
};

/// The longest body of a request. A document that is as large as the collection takes has a longer text.
const BODY_BYTES: usize = 256 << 10;

/// Creates a policy, or replaces the one of that name.
pub(crate) async fn put(
    State(state): State<AppState>,
    Acting { caller, actor }: Acting,
    Id(name): Id,
    request: Request,
) -> Result<Response, Problem> {
    Query::read(request.uri(), &[])?;
    let conditions = Preconditions::read(request.headers())?;
    body::PUT_JSON.check(request.headers())?;
    check_id(&name).map_err(|detail| Problem::parameter(Kind::InvalidRequest, "id", detail))?;
    let (parts, body) = request.into_parts();
    let reader = BodyReader::new(&state, &caller, BODY_BYTES.min(state.limits().body_bytes));
    let body = reader.read(&parts.headers, body).await?;
    let id = name.clone();
    let read = move || input::policy(&body.bytes, &id);
    let filtering = state.bounds.filtering.for_operators();
    let document = filtering.offload(read).await??;
    let length = document.as_bytes().len();
    check_room(&state, CredentialKind::Policy, None, length)?;
    let attempts = Attempts::new(&state, &name);
    loop {
        let current = attempts.read().await?;
        conditions.check(current.as_deref().map(etag).as_deref())?;
        let (status, written) = match &current {
            None => (
                StatusCode::CREATED,
                create(&state, &document, &actor).await?,
            ),
            Some(read) => {
                let replaced = state.store.replace_policy(read, &document, &actor);
                (StatusCode::OK, replaced.await?)
            }
        };
        if let Some(written) = written {
            let by = caller.owner.as_deref();
            tracing::info!(policy = name, by, "a policy was stored");
            return answer_written(&state, status, &name, written).await;
        }
    }
}

/// Stores a new policy. Returns `None` if another request has stored one of that name in the meantime.
async fn create(
    state: &AppState,
    document: &RawDocumentBuf,
    by: &Actor,
) -> Result<Option<Written>, Problem> {
    match state.store.insert_policy(document.clone(), by).await {
        Err(StoreError::Duplicate) => Ok(None),
        outcome => Ok(Some(outcome?)),
    }
}

async fn answer_written(
    state: &AppState,
    status: StatusCode,
    name: &str,
    written: Written,
) -> Result<Response, Problem> {
    let etag = etag(&written.document);
    let show = move || shown::policy(&written.document);
    let filtering = state.bounds.filtering.for_operators();
    let text = filtering.offload_anyway(show).await??;
    let mut response = answer::json(status, text);
    answer::add_header(&mut response, header::ETAG, &etag)?;
    if status == StatusCode::CREATED {
        let location = format!("{BASE}/policies/{}", segment(name));
        answer::add_header(&mut response, header::LOCATION, &location)?;
    }
    Ok(wait_applied(state, written.operation_time, response).await)
}

/// Deletes a policy. What it narrowed ends on every node.
pub(crate) async fn delete(
    State(state): State<AppState>,
    Acting { caller, actor }: Acting,
    Id(name): Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let conditions = Preconditions::read(&headers)?;
    let attempts = Attempts::new(&state, &name);
    loop {
        let only_if = if conditions.is_empty() {
            None
        } else {
            let current = attempts.read().await?.ok_or_else(|| no_policy(&name))?;
            conditions.check(Some(&etag(&current)))?;
            Some(current)
        };
        let deleting = state.store.delete_policy(&name, only_if.as_deref(), &actor);
        match deleting.await? {
            Deleted::Gone(time) => {
                let by = caller.owner.as_deref();
                tracing::info!(policy = name, by, "a policy was deleted");
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                return Ok(wait_applied(&state, time, response).await);
            }
            Deleted::NotFound => return Err(no_policy(&name)),
            Deleted::Changed => {}
        }
    }
}

/// The attempts at a write of a policy that others write, too. Few do, so each reads what the primary has and a majority
/// keeps: a refusal may rest on it.
struct Attempts<'s> {
    state: &'s AppState,
    name: &'s str,
    begun: Instant,
}

impl<'s> Attempts<'s> {
    fn new(state: &'s AppState, name: &'s str) -> Self {
        Self {
            state,
            name,
            begun: Instant::now(),
        }
    }

    /// Reads the policy for the next attempt. Refuses the request once the time for all attempts is over.
    async fn read(&self) -> Result<Option<RawDocumentBuf>, Problem> {
        if self.begun.elapsed() >= self.state.limits().database_timeout {
            return Err(Problem::new(
                Kind::Contended,
                "other requests changed the policy at every attempt",
            ));
        }
        let read = self.state.store.find_policy_settled(self.name).await?;
        Ok(read.document)
    }
}
