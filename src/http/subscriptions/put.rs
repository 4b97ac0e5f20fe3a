//! `PUT /subscriptions/{id}`

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bson::{DateTime, RawDocumentBuf};

use super::{
    ATTEMPTS, contended,
    input::{Checked, read},
    pause_before, write,
};
use crate::{
    http::{
        AppState, body,
        conditional::Preconditions,
        extract::Id,
        problem::{Kind, Problem},
    },
    store::{Read, StoreError},
    subscription::{etag, input::check_id},
};

/// Creates a subscription under an id of the caller's, or replaces what is there.
pub(crate) async fn put(
    State(state): State<AppState>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Problem> {
    let (conditions, checked) = read(&state, &id, request, body::PUT_JSON, false).await?;
    for attempt in 0..ATTEMPTS {
        pause_before(attempt).await;
        // What stood in the way of an earlier attempt may not be held by a majority yet.
        let mut found = match attempt {
            0 => state.store.find_subscription(&id).await?,
            _ => state.store.find_subscription_settled(&id).await?,
        };
        let answered = match found.document.take() {
            None => create(&state, &id, &checked, &conditions).await?,
            Some(document) => replace(&state, found, document, &checked, &conditions).await?,
        };
        if let Some(response) = answered {
            return Ok(response);
        }
    }
    Err(contended())
}

/// `None` where another request has created it meanwhile.
async fn create(
    state: &AppState,
    id: &str,
    checked: &Checked,
    conditions: &Preconditions,
) -> Result<Option<Response>, Problem> {
    conditions.check(None)?;
    check_id(id).map_err(|detail| Problem::parameter(Kind::InvalidRequest, "id", detail))?;
    let document = checked.input.create(id, DateTime::now());
    let written = match state.store.insert_subscription(&document).await {
        Err(StoreError::Duplicate) => return Ok(None),
        outcome => outcome?,
    };
    let warning = checked.warning.as_deref();
    let response = write::written(state, StatusCode::CREATED, written, warning).await?;
    Ok(Some(response))
}

/// `None` where the document has changed since it was read.
async fn replace(
    state: &AppState,
    read: Read,
    document: RawDocumentBuf,
    checked: &Checked,
    conditions: &Preconditions,
) -> Result<Option<Response>, Problem> {
    conditions.check(Some(&etag(&document)))?;
    let warning = checked.warning.as_deref();
    let Some(new) = checked.input.replace(&document, DateTime::now()) else {
        let response = write::unchanged(state, read, document, warning).await?;
        return Ok(Some(response));
    };
    let Some(written) = state.store.replace_subscription(&document, &new).await? else {
        return Ok(None);
    };
    let response = write::written(state, StatusCode::OK, written, warning).await?;
    Ok(Some(response))
}
