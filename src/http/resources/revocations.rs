//! Revocations over REST: documents that take tokens and keys away before their end.

mod input;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{StatusCode, Uri},
    response::Response,
};
use bson::{DateTime, RawDocument, RawDocumentBuf};
use serde_json::{Map, Value};

use crate::{
    access::{Caller, CredentialKind, Excess, Revocation, Scopes},
    http::edge::{
        AppState,
        acting::Acting,
        answer,
        body::{self, BodyReader, BufferedRequest},
        caller::By,
        credential_room::check_room,
        page_cursor,
        path_id::Id,
        problem::{Kind, Problem},
        query::{self, Query},
        read_your_writes::wait_applied,
    },
    store::RevocationQuery,
    subscription::DocumentKey,
};

/// The longest body of a request.
const BODY_BYTES: usize = 16 << 10;
/// The fields of a stored revocation that are shown.
const SHOWN: [&str; 10] = [
    "issuer",
    "jti",
    "sub",
    "kid",
    "tenant",
    "issuedBefore",
    "expiresAt",
    "reason",
    "createdAt",
    "createdBy",
];

/// `POST /revocations`: takes credentials away. Their sockets end on every node.
pub(crate) async fn create(
    State(state): State<AppState>,
    Acting { caller, actor }: Acting,
    request: Request,
) -> Result<Response, Problem> {
    Query::read(request.uri(), &[])?;
    body::POSTED_JSON.check(request.headers())?;
    let reader = BodyReader::new(&state, &caller, BODY_BYTES.min(state.limits().body_bytes));
    let request = BufferedRequest::read(reader, request).await?;
    let now = DateTime::now();
    let revocation = input::revocation(&request.body.bytes, &caller, &state.issuers, now)?;
    let revocation = revocation.within(&caller).map_err(too_much)?;
    let by = caller.owner.as_deref().unwrap_or("none");
    let document = revocation.to_document(by, now);
    let raw = RawDocumentBuf::try_from(&document)?;
    let (tenant, length) = (caller.tenant.as_deref(), raw.as_bytes().len());
    check_room(&state, CredentialKind::Revocation, tenant, length)?;
    let time = state.store.insert_revocation(&document, &actor).await?;
    tracing::info!(revocation = id_of(&raw), by, "a revocation was made");
    let response = answer::json(StatusCode::CREATED, Value::from(show(&raw)).to_string());
    Ok(wait_applied(&state, time, response).await)
}

/// `GET /revocations`: lists revocations in the order of their ids.
pub(crate) async fn list(
    State(state): State<AppState>,
    By(caller): By,
    uri: Uri,
) -> Result<Response, Problem> {
    let query = Query::read(&uri, &["limit", "cursor", "tenant"])?;
    let limits = state.limits();
    let limit = query.limit(limits.page_items_default, limits.page_items)?;
    let asked = RevocationQuery {
        tenant: tenant_asked(&caller, query.get("tenant"))?,
        after: query.get("cursor").map(page_cursor::decode).transpose()?,
        limit: limit + 1,
        bytes: limits.page_bytes,
    };
    let paging = state.bounds.paging.for_tenant(caller.tenant.as_deref());
    let permit = paging.acquire().await?;
    let listed = state.store.list_revocations(&asked).await?;
    let documents = &listed.documents;
    let page = &documents[..documents.len().min(limit)];
    let more = documents.len() > limit || !listed.exhausted;
    let next = match page.last().map(|last| DocumentKey::of(last).to_bson()) {
        Some(Some(last)) if more => Some(page_cursor::encode(&last)?),
        _ => None,
    };
    let response = answer::page(page.iter().map(|one| show(one).into()), next);
    drop(permit);
    Ok(response)
}

/// `DELETE /revocations/{id}`: takes a revocation back. Sockets that it has ended stay closed.
pub(crate) async fn delete(
    State(state): State<AppState>,
    Acting { caller, actor }: Acting,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let read = state.store.find_revocation(&id).await?;
    let sight = caller.sight_of_credentials();
    let seen = read.document.filter(|found| sight.sees(&id, found));
    check_rights(&caller, &seen.ok_or_else(|| no_revocation(&id))?)?;
    let tenant = caller.tenant.as_deref();
    let deleting = state.store.delete_revocation(&id, tenant, &actor);
    let time = deleting.await?.ok_or_else(|| no_revocation(&id))?;
    let by = caller.owner.as_deref();
    tracing::info!(revocation = id, by, "a revocation was taken back");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(wait_applied(&state, time, response).await)
}

/// Returns the tenant whose revocations are listed. A caller of a tenant sees no others.
fn tenant_asked(caller: &Caller, asked: Option<&str>) -> Result<Option<String>, Problem> {
    match (caller.tenant.as_deref(), asked) {
        (Some(own), Some(asked)) if own != asked => Err(query::bad("tenant", "is for operators")),
        (own, asked) => Ok(own.or(asked).map(str::to_owned)),
    }
}

/// Refuses to take back a revocation that the caller could not have made.
fn check_rights(caller: &Caller, revocation: &RawDocument) -> Result<(), Problem> {
    let needed = Revocation::read(revocation).map(|stored| stored.needed_scopes());
    let needed = needed.unwrap_or(Scopes::ALL);
    if caller.scopes.cover(needed) {
        return Ok(());
    }
    let detail = "the revocation takes credentials away that may have scopes that you do not have";
    Err(Problem::new(Kind::Forbidden, detail))
}

fn no_revocation(id: &str) -> Problem {
    let detail = format!("there is no revocation {id:?}");
    Problem::new(Kind::RevocationNotFound, detail)
}

fn too_much(excess: Excess) -> Problem {
    let Excess { field, reason } = excess;
    Problem::new(Kind::Forbidden, format!("#/{field}: {reason}"))
}

fn id_of(revocation: &RawDocument) -> String {
    DocumentKey::of(revocation).to_string()
}

fn show(revocation: &RawDocument) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("id".to_owned(), id_of(revocation).into());
    for name in SHOWN {
        shown.insert(name.to_owned(), answer::stored_value(revocation, name));
    }
    shown
}
