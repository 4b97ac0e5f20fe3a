//! `DELETE /subscriptions/{id}`

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use bson::RawDocumentBuf;

use super::{ATTEMPTS, contended, not_found, pause_before};
use crate::{
    http::{
        AppState, answer, conditional::Preconditions, extract::Id, problem::Problem, query::Query,
    },
    store::Deleted,
    subscription::etag,
};

/// Deletes a subscription. Its sockets are closed by the feed, on every node.
pub(crate) async fn delete(
    State(state): State<AppState>,
    Id(id): Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let conditions = Preconditions::read(&headers)?;
    for attempt in 0..ATTEMPTS {
        pause_before(attempt).await;
        let seen = acceptable(&state, &id, &conditions).await?;
        match state
            .store
            .delete_subscription(&id, seen.as_deref())
            .await?
        {
            Deleted::Gone(time) => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                return Ok(answer::settled(&state, time, response).await);
            }
            Deleted::NotFound => return Err(not_found(&id)),
            Deleted::Changed => {}
        }
    }
    Err(contended())
}

/// The document that may be deleted; `None` where whatever is there may.
async fn acceptable(
    state: &AppState,
    id: &str,
    conditions: &Preconditions,
) -> Result<Option<RawDocumentBuf>, Problem> {
    if conditions.is_empty() {
        return Ok(None);
    }
    let read = state.store.find_subscription(id).await?;
    let document = read.document.ok_or_else(|| not_found(id))?;
    conditions.check(Some(&etag(&document)))?;
    Ok(Some(document))
}
