//! `DELETE /subscriptions/{id}`

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use bson::RawDocumentBuf;

use super::attempts::Attempts;
use crate::{
    http::edge::{
        AppState, acting::Acting, conditional::Preconditions, observe::WRITES, path_id::Id,
        problem::Problem, query::Query, read_your_writes::wait_subscription_applied,
    },
    store::Deleted,
    subscription::etag,
};

/// Deletes a subscription. Every node sees the delete in its feed and closes its own sockets.
pub(crate) async fn delete(
    State(state): State<AppState>,
    acting: Acting,
    Id(id): Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let conditions = Preconditions::read(&headers)?;
    let mut attempts = Attempts::new(&state, &id, &acting.caller);
    loop {
        let only_if = document_to_delete(&mut attempts, &conditions).await?;
        let (document, reach) = (only_if.as_deref(), attempts.reach());
        let deleting = state
            .store
            .delete_subscription(&id, document, reach, acting.proved());
        match deleting.await? {
            Deleted::Gone(time) => {
                tracing::debug!(target: WRITES, id, "a subscription was deleted");
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                return Ok(wait_subscription_applied(&state, time, response).await);
            }
            Deleted::NotFound if only_if.is_some() => {
                return Err(Problem::no_subscription(&id));
            }
            // The caller may see one that it may not delete.
            Deleted::NotFound => _ = attempts.find().await?,
            Deleted::Changed => {}
        }
    }
}

/// Returns the document that meets the conditions, or `None` if there are no conditions.
async fn document_to_delete(
    attempts: &mut Attempts<'_>,
    conditions: &Preconditions,
) -> Result<Option<RawDocumentBuf>, Problem> {
    if conditions.is_empty() {
        return Ok(None);
    }
    let (read, document) = attempts.find().await?;
    match conditions.check(Some(&etag(&document))) {
        Ok(()) => Ok(Some(document)),
        Err(problem) => Err(attempts.refuse(&read, problem).await),
    }
}
