//! `POST /subscriptions`

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bson::Document;

use super::{
    input::{Expected, check_body, fixed_for},
    write::{answer_written, check_room, check_within},
};
use crate::{
    http::edge::{
        AppState,
        acting::Acting,
        body::BufferedRequest,
        granting::grant_one,
        idempotency::{Ids, once},
        problem::Problem,
    },
    store::{Read, StoreError, Written},
    subscription::SubscriptionId,
};

/// Creates a subscription under an id of ours.
pub(crate) async fn create(
    State(state): State<AppState>,
    acting: Acting,
    request: Request,
) -> Result<Response, Problem> {
    let caller = Arc::clone(&acting.caller);
    let request = BufferedRequest::read_posted_json(&state, &caller, request).await?;
    // No id that the service gives is one of a list. Rights come before an answer that is kept.
    check_within(&caller, "")?;
    let create = move |state, request, ids| create_one(state, acting, request, ids);
    once(state, &caller, request, create).await
}

async fn create_one(
    state: AppState,
    acting: Acting,
    request: BufferedRequest,
    ids: Ids,
) -> Result<Response, Problem> {
    let caller = &*acting.caller;
    let expected = Expected {
        fixed: fixed_for(caller),
        ..Expected::default()
    };
    let checked = check_body(&state, caller, request.body, expected).await?;
    check_room(&state, 1)?;
    let id = SubscriptionId::of(ids.uuid(0));
    let policies = state.router().credentials().policies();
    let document = checked.create(id.as_str(), caller, &policies, "#")?;
    let _granted = grant_one(&state, caller, id.as_str()).await?;
    let written = insert(&state, &id, &document, ids, &acting).await?;
    answer_written(&state, StatusCode::CREATED, written, &checked).await
}

/// Stores the document, or finds the one that an earlier attempt with the same key stored.
async fn insert(
    state: &AppState,
    id: &SubscriptionId,
    document: &Document,
    ids: Ids,
    acting: &Acting,
) -> Result<Written, StoreError> {
    let store = &state.store;
    match store.insert_subscription(document, acting.proved()).await {
        Err(StoreError::Duplicate) if ids.may_exist() => {
            let sight = acting.caller.sight();
            match store.find_subscription_settled(id.as_str(), &sight).await? {
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
