//! `DELETE /subscriptions/{id}`

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use bson::RawDocumentBuf;

use super::{not_found, tries::Tries};
use crate::{
    http::edge::{
        AppState, answer, conditional::Preconditions, observe::WRITES, path_id::Id,
        problem::Problem, query::Query,
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
    let mut tries = Tries::new(&state, &id);
    loop {
        let seen = acceptable(&mut tries, &id, &conditions).await?;
        match state
            .store
            .delete_subscription(&id, seen.as_deref())
            .await?
        {
            Deleted::Gone(time) => {
                tracing::debug!(target: WRITES, id, "a subscription was deleted");
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                return Ok(answer::settled(&state, time, response).await);
            }
            Deleted::NotFound => return Err(not_found(&id)),
            Deleted::Changed => {}
        }
    }
}

/// The document that may be deleted; `None` where whatever is there may.
async fn acceptable(
    tries: &mut Tries<'_>,
    id: &str,
    conditions: &Preconditions,
) -> Result<Option<RawDocumentBuf>, Problem> {
    if conditions.is_empty() {
        return Ok(None);
    }
    let mut read = tries.read().await?;
    let Some(document) = read.document.take() else {
        return Err(tries.refuse(&read, not_found(id)).await);
    };
    match conditions.check(Some(&etag(&document))) {
        Ok(()) => Ok(Some(document)),
        Err(problem) => Err(tries.refuse(&read, problem).await),
    }
}
