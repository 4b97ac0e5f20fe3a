//! `POST /subscriptions`

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bson::{DateTime, Document};

use super::{
    input::{Checked, Expected, one},
    write,
};
use crate::{
    http::edge::{
        AppState,
        body::{self, Reader, Received},
        idempotency::{Call, Ids, once},
        problem::Problem,
        query::Query,
    },
    store::{Read, StoreError, Written},
    subscription::SubscriptionId,
};

/// Creates a subscription under an id of ours.
pub(crate) async fn create(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    let call = read_call(&state, request).await?;
    once(state, call, create_one).await
}

/// Reads a request with JSON in it, without judging the JSON.
pub(super) async fn read_call(state: &AppState, request: Request) -> Result<Call, Problem> {
    Query::read(request.uri(), &[])?;
    body::POSTED_JSON.check(request.headers())?;
    let most = state.limits().body_bytes;
    Call::read(Reader::new(state, most), request).await
}

async fn create_one(state: AppState, call: Call, ids: Ids) -> Result<Response, Problem> {
    let received = Received {
        bytes: call.body,
        share: call.share,
    };
    let Checked { input, warnings } = one(&state, received, Expected::default()).await?;
    write::check_room(&state, 1)?;
    let id = SubscriptionId::of(ids.uuid(0));
    let document = input.create(id.as_str(), DateTime::now());
    let written = insert(&state, &id, &document, ids).await?;
    write::written(&state, StatusCode::CREATED, written, &warnings).await
}

/// Stores the document, or finds what an earlier attempt with the same key stored.
async fn insert(
    state: &AppState,
    id: &SubscriptionId,
    document: &Document,
    ids: Ids,
) -> Result<Written, StoreError> {
    match state.store.insert_subscription(document).await {
        Err(StoreError::Duplicate) if ids.may_exist() => {
            match state.store.find_subscription_settled(id.as_str()).await? {
                Read {
                    operation_time,
                    document: Some(document),
                } => Ok(Written {
                    operation_time,
                    document,
                }),
                // Created and deleted again meanwhile.
                _ => Err(StoreError::Duplicate),
            }
        }
        outcome => outcome,
    }
}
