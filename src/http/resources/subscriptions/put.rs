//! `PUT /subscriptions/{id}`

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bson::{DateTime, RawDocumentBuf};

use super::{
    attempts::Attempts,
    input::{CheckedInput, read_request},
    write::{answer_unchanged, answer_written, check_room},
};
use crate::{
    http::edge::{
        AppState, body,
        path_id::Id,
        problem::{Kind, Problem},
    },
    store::{Read, StoreError},
    subscription::{etag, input::check_id},
};

/// Creates a subscription under an id that the caller chose, or replaces the one with that id.
pub(crate) async fn put(
    State(state): State<AppState>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Problem> {
    let (conditions, checked) = read_request(&state, &id, request, body::PUT_JSON, false).await?;
    let mut attempts = Attempts::new(&state, &id);
    loop {
        let mut found = attempts.read().await?;
        let document = found.document.take();
        if let Err(problem) = conditions.check(document.as_deref().map(etag).as_deref()) {
            return Err(attempts.refuse(&found, problem).await);
        }
        if let Some(current) = &document
            && let Err(problem) = checked.check_kept(current)
        {
            return Err(attempts.refuse(&found, problem).await);
        }
        let answered = match document {
            None => create(&state, &id, &checked).await?,
            Some(document) => replace(&state, found, document, &checked).await?,
        };
        if let Some(response) = answered {
            return Ok(response);
        }
    }
}

/// Creates the subscription. Returns `None` if another request has created it in the meantime.
async fn create(
    state: &AppState,
    id: &str,
    checked: &CheckedInput,
) -> Result<Option<Response>, Problem> {
    check_id(id).map_err(|detail| Problem::parameter(Kind::InvalidRequest, "id", detail))?;
    check_room(state, 1)?;
    let document = checked.input.create(id, DateTime::now());
    let written = match state.store.insert_subscription(&document).await {
        Err(StoreError::Duplicate) => return Ok(None),
        outcome => outcome?,
    };
    let response = answer_written(state, StatusCode::CREATED, written, checked).await?;
    Ok(Some(response))
}

/// Replaces the document. Returns `None` if it has changed since it was read.
async fn replace(
    state: &AppState,
    read: Read,
    document: RawDocumentBuf,
    checked: &CheckedInput,
) -> Result<Option<Response>, Problem> {
    let Some(new) = checked.input.replace(&document, DateTime::now()) else {
        let response = answer_unchanged(state, read, document, checked).await?;
        return Ok(Some(response));
    };
    let Some(written) = state.store.replace_subscription(&document, &new).await? else {
        return Ok(None);
    };
    let response = answer_written(state, StatusCode::OK, written, checked).await?;
    Ok(Some(response))
}
