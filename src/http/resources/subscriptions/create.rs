//! `POST /subscriptions`

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bson::{DateTime, Document};

use super::{
    input::{Expected, check_body},
    write::{answer_written, check_room},
};
use crate::{
    http::edge::{
        AppState,
        body::BufferedRequest,
        idempotency::{Ids, once},
        problem::Problem,
    },
    store::{Read, StoreError, Written},
    subscription::SubscriptionId,
};

/// Creates a subscription under an id of ours.
pub(crate) async fn create(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    let request = BufferedRequest::read_posted_json(&state, request).await?;
    once(state, request, create_one).await
}

async fn create_one(
    state: AppState,
    request: BufferedRequest,
    ids: Ids,
) -> Result<Response, Problem> {
    let checked = check_body(&state, request.body, Expected::default()).await?;
    check_room(&state, 1)?;
    let id = SubscriptionId::of(ids.uuid(0));
    let document = checked.input.create(id.as_str(), DateTime::now());
    let written = insert(&state, &id, &document, ids).await?;
    answer_written(&state, StatusCode::CREATED, written, &checked).await
}

/// Stores the document, or finds the one that an earlier attempt with the same key stored.
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
                // It was created and has been deleted since.
                _ => Err(StoreError::Duplicate),
            }
        }
        outcome => outcome,
    }
}
