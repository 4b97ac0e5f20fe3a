//! API keys over REST. The text of a key is shown once, by the call that makes it. A key for a certificate has none.

mod input;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{StatusCode, Uri, header},
    response::Response,
};
use bson::{DateTime, Document, RawDocument};
use serde_json::{Map, Value};

use crate::{
    access::{
        Caller, CredentialKind, Excess, KeyText, Scope, StoredKey, shown_fingerprint, shown_prefix,
    },
    http::edge::{
        AppState,
        acting::Acting,
        answer,
        body::{self, BodyReader, BufferedRequest},
        caller::By,
        credential_room::check_room,
        page_cursor,
        path_id::Id,
        paths::BASE,
        problem::{Kind, Problem},
        query::{self, Query},
        read_your_writes::wait_applied,
    },
    store::{KeyQuery, StoreError},
};

/// The longest body of a request.
const BODY_BYTES: usize = 64 << 10;
/// The fields of a stored key that are shown. Its hash is not.
const SHOWN: [&str; 12] = [
    "name",
    "scopes",
    "tenant",
    "policy",
    "claims",
    "networks",
    "origins",
    "subscriptions",
    "limits",
    "expiresAt",
    "createdAt",
    "createdBy",
];

/// `POST /keys`: makes a key, and shows its text, if it has one.
pub(crate) async fn create(
    State(state): State<AppState>,
    Acting { caller, actor }: Acting,
    request: Request,
) -> Result<Response, Problem> {
    let body = read(&state, &caller, request).await?;
    let now = DateTime::now();
    let key = input::new_key(&body, now)?
        .within(&caller)
        .map_err(too_much)?;
    let text = KeyText::mint();
    let by = caller.owner.as_deref().unwrap_or("none");
    let document = key.to_document(&text, by, now);
    let raw = document_of(&document)?;
    let (tenant, length) = (caller.tenant.as_deref(), raw.as_bytes().len());
    check_room(&state, CredentialKind::Key, tenant, length)?;
    let time = state.store.insert_key(&document, &actor).await;
    let time = time.map_err(not_stored)?;
    tracing::info!(key = text.id(), by, "a key was made");
    let mut shown = show(&raw, None);
    let secret = key.certificate.is_none().then(|| text.reveal());
    shown.insert("key".to_owned(), secret.into());
    let mut response = answer::json(StatusCode::CREATED, Value::from(shown).to_string());
    let location = format!("{BASE}/keys/{}", text.id());
    answer::add_header(&mut response, header::LOCATION, &location)?;
    Ok(wait_applied(&state, time, response).await)
}

/// `GET /keys`: lists keys in the order of their ids.
pub(crate) async fn list(
    State(state): State<AppState>,
    By(caller): By,
    uri: Uri,
) -> Result<Response, Problem> {
    let query = Query::read(&uri, &["limit", "cursor", "tenant"])?;
    let limits = state.limits();
    let after = match query.get("cursor").map(page_cursor::decode).transpose()? {
        None => None,
        Some(bson::Bson::String(id)) => Some(id),
        Some(_) => return Err(page_cursor::bad_cursor("cursor")),
    };
    let limit = query.limit(limits.page_items_default, limits.page_items)?;
    let asked = KeyQuery {
        tenant: tenant_asked(&caller, query.get("tenant"))?,
        after,
        limit: limit + 1,
        bytes: limits.page_bytes,
    };
    let paging = state.bounds.paging.for_tenant(caller.tenant.as_deref());
    let permit = paging.acquire().await?;
    let listed = state.store.list_keys(&asked).await?;
    let documents = &listed.documents;
    let page = &documents[..documents.len().min(limit)];
    let more = documents.len() > limit || !listed.exhausted;
    let next = match page.last().filter(|_| more) {
        Some(last) => Some(page_cursor::encode(&id_of(last).into())?),
        None => None,
    };
    let uses = state.store.last_uses(page.iter().map(|key| id_of(key)));
    let uses = uses.await?;
    let items = page
        .iter()
        .map(|key| show(key, uses.get(id_of(key)).copied()).into());
    let response = answer::page(items, next);
    drop(permit);
    Ok(response)
}

/// `GET /keys/{id}`: shows a key without its text.
pub(crate) async fn get(
    State(state): State<AppState>,
    By(caller): By,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let found = state.store.find_key(&id, caller.tenant.as_deref()).await?;
    let key = found.ok_or_else(|| no_key(&id))?;
    let last_used_at = last_use(&state, &id).await?;
    let shown = Value::from(show(&key, last_used_at));
    Ok(answer::json(StatusCode::OK, shown.to_string()))
}

/// `PATCH /keys/{id}`: changes the name and the limits of a key.
pub(crate) async fn patch(
    State(state): State<AppState>,
    Acting { caller, actor }: Acting,
    Id(id): Id,
    request: Request,
) -> Result<Response, Problem> {
    Query::read(request.uri(), &[])?;
    body::MERGE_PATCH.check(request.headers())?;
    let (parts, body) = request.into_parts();
    let reader = BodyReader::new(&state, &caller, BODY_BYTES.min(state.limits().body_bytes));
    let body = reader.read(&parts.headers, body).await?;
    // Sight and rights come before the meaning of the body.
    let tenant = caller.tenant.as_deref();
    let found = state.store.find_key(&id, tenant).await?;
    let key = found.ok_or_else(|| no_key(&id))?;
    check_rights(&caller, &key)?;
    let now = DateTime::now();
    let (named, asked) = input::changes(&body.bytes, now)?;
    let allowed = asked.within(&caller).map_err(too_much)?;
    // It may grow by all that is asked for.
    check_room(&state, CredentialKind::Key, tenant, body.bytes.len())?;
    let whole = allowed.to_document(&KeyText::mint(), "", now);
    let (mut set, mut unset) = (Document::new(), Document::new());
    for name in &named {
        match whole.get(name) {
            Some(value) => set.insert(name, value.clone()),
            None => unset.insert(name, ""),
        };
    }
    // Once it is changed, nothing may hide that.
    let last_used_at = last_use(&state, &id).await?;
    if set.is_empty() && unset.is_empty() {
        let shown = Value::from(show(&key, last_used_at));
        return Ok(answer::json(StatusCode::OK, shown.to_string()));
    }
    let updating = state.store.update_key(&id, tenant, set, unset, &actor);
    let changed = updating.await?.ok_or_else(|| no_key(&id))?;
    let shown = Value::from(show(&changed.document, last_used_at));
    let response = answer::json(StatusCode::OK, shown.to_string());
    Ok(wait_applied(&state, changed.operation_time, response).await)
}

/// `DELETE /keys/{id}`: revokes a key. Its sockets end on every node.
pub(crate) async fn delete(
    State(state): State<AppState>,
    Acting { caller, actor }: Acting,
    Id(id): Id,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let tenant = caller.tenant.as_deref();
    let found = state.store.find_key(&id, tenant).await?;
    check_rights(&caller, &found.ok_or_else(|| no_key(&id))?)?;
    let deleted = state.store.delete_key(&id, tenant, &actor).await?;
    let time = deleted.ok_or_else(|| no_key(&id))?;
    tracing::info!(key = id, by = caller.owner.as_deref(), "a key was revoked");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(wait_applied(&state, time, response).await)
}

/// Reads a request whose answer will hold a secret. It cannot be made repeatable.
pub(super) async fn read(
    state: &AppState,
    caller: &Caller,
    request: Request,
) -> Result<bytes::Bytes, Problem> {
    if request.headers().contains_key("idempotency-key") {
        // The answer would be kept for a day, and the secret with it.
        return Err(Problem::header(
            Kind::BadHeader,
            "Idempotency-Key",
            "is not taken here: the answer holds a secret, which is not kept",
        ));
    }
    Query::read(request.uri(), &[])?;
    body::POSTED_JSON.check(request.headers())?;
    let reader = BodyReader::new(state, caller, BODY_BYTES.min(state.limits().body_bytes));
    let request = BufferedRequest::read(reader, request).await?;
    Ok(request.body.bytes)
}

/// Returns the tenant whose keys are listed. A caller of a tenant sees no others.
fn tenant_asked(caller: &Caller, asked: Option<&str>) -> Result<Option<String>, Problem> {
    match (caller.tenant.as_deref(), asked) {
        (Some(own), Some(asked)) if own != asked => Err(query::bad("tenant", "is for operators")),
        (own, asked) => Ok(own.or(asked).map(str::to_owned)),
    }
}

/// Refuses to change or revoke a key that may do more than the caller, or of which that cannot be told.
fn check_rights(caller: &Caller, key: &RawDocument) -> Result<(), Problem> {
    let covered = match StoredKey::read(key) {
        Ok(stored) => caller.scopes.cover(stored.scopes()),
        Err(_) => caller.may(Scope::Admin),
    };
    if covered {
        return Ok(());
    }
    let detail = "the key has scopes that you do not have";
    Err(Problem::new(Kind::Forbidden, detail))
}

fn too_much(excess: Excess) -> Problem {
    let Excess { field, reason } = excess;
    Problem::new(Kind::Forbidden, format!("#/{field}: {reason}"))
}

fn no_key(id: &str) -> Problem {
    Problem::new(Kind::KeyNotFound, format!("there is no key {id:?}"))
}

fn id_of(key: &RawDocument) -> &str {
    key.get_str("_id").unwrap_or_default()
}

fn document_of(document: &Document) -> Result<bson::RawDocumentBuf, Problem> {
    Ok(bson::RawDocumentBuf::try_from(document)?)
}

fn not_stored(error: StoreError) -> Problem {
    match error {
        // No two ids are the same.
        StoreError::Duplicate => {
            Problem::new(Kind::Conflict, "#/certificate: another key is for it")
        }
        error => error.into(),
    }
}

/// Returns the last use of a key, if one is known.
async fn last_use(state: &AppState, id: &str) -> Result<Option<DateTime>, Problem> {
    let uses = state.store.last_uses([id].into_iter()).await?;
    Ok(uses.into_values().next())
}

/// Shows a stored key, without the hash of its text.
fn show(key: &RawDocument, last_used_at: Option<DateTime>) -> Map<String, Value> {
    let id = id_of(key);
    let certificate = key.get_binary("certificate").ok();
    let certificate = certificate.and_then(|stored| stored.bytes.try_into().ok());
    let mut shown = Map::new();
    shown.insert("id".to_owned(), id.into());
    let prefix = certificate.is_none().then(|| shown_prefix(id));
    shown.insert("prefix".to_owned(), prefix.into());
    let certificate = certificate.as_ref().map(shown_fingerprint);
    shown.insert("certificate".to_owned(), certificate.into());
    for name in SHOWN {
        shown.insert(name.to_owned(), answer::stored_value(key, name));
    }
    let last_used_at = last_used_at.and_then(answer::stored_time);
    shown.insert("lastUsedAt".to_owned(), last_used_at.into());
    shown
}
