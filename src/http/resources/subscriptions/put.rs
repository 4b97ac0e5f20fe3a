//! `PUT /subscriptions/{id}`

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bson::{DateTime, RawDocumentBuf};

use super::{
    input::{Checked, read},
    tries::Tries,
    write,
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

/// Creates a subscription under an id of the caller's, or replaces what is there.
pub(crate) async fn put(
    State(state): State<AppState>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Problem> {
    let (conditions, checked) = read(&state, &id, request, body::PUT_JSON, false).await?;
    let mut tries = Tries::new(&state, &id);
    loop {
        let mut found = tries.read().await?;
        let document = found.document.take();
        if let Err(problem) = conditions.check(document.as_deref().map(etag).as_deref()) {
            return Err(tries.refuse(&found, problem).await);
        }
        if let Some(current) = &document
            && let Err(problem) = checked.check_kept(current)
        {
            return Err(tries.refuse(&found, problem).await);
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

/// `None` where another request has created it meanwhile.
async fn create(
    state: &AppState,
    id: &str,
    checked: &Checked,
) -> Result<Option<Response>, Problem> {
    check_id(id).map_err(|detail| Problem::parameter(Kind::InvalidRequest, "id", detail))?;
    write::check_room(state, 1)?;
    let document = checked.input.create(id, DateTime::now());
    let written = match state.store.insert_subscription(&document).await {
        Err(StoreError::Duplicate) => return Ok(None),
        outcome => outcome?,
    };
    let warnings = &checked.warnings;
    let response = write::written(state, StatusCode::CREATED, written, warnings).await?;
    Ok(Some(response))
}

/// `None` where the document has changed since it was read.
async fn replace(
    state: &AppState,
    read: Read,
    document: RawDocumentBuf,
    checked: &Checked,
) -> Result<Option<Response>, Problem> {
    let warnings = &checked.warnings;
    let Some(new) = checked.input.replace(&document, DateTime::now()) else {
        let response = write::unchanged(state, read, document, warnings).await?;
        return Ok(Some(response));
    };
    let Some(written) = state.store.replace_subscription(&document, &new).await? else {
        return Ok(None);
    };
    let response = write::written(state, StatusCode::OK, written, warnings).await?;
    Ok(Some(response))
}
