//! `PATCH /subscriptions/{id}`: a merge patch (RFC 7396), but `filter` and `metadata` are replaced
//! whole. A filter is a program, not a record: merging two would make a third that nobody wrote.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bson::DateTime;

use super::{ATTEMPTS, contended, input::read, not_found, pause_before, write};
use crate::{
    http::{AppState, body, extract::Id, problem::Problem},
    subscription::etag,
};

/// Changes the fields that the request names, and no others.
pub(crate) async fn patch(
    State(state): State<AppState>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Problem> {
    let (conditions, checked) = read(&state, &id, request, body::MERGE_PATCH, true).await?;
    let warning = checked.warning.as_deref();
    for attempt in 0..ATTEMPTS {
        pause_before(attempt).await;
        let mut found = state.store.find_subscription(&id).await?;
        let document = found.document.take().ok_or_else(|| not_found(&id))?;
        conditions.check(Some(&etag(&document)))?;
        let changes = checked.input.patch(&document, DateTime::now());
        if changes.is_empty() {
            return write::unchanged(&state, found, document, warning).await;
        }
        let update = state
            .store
            .update_subscription(&document, changes.set, &changes.unset);
        if let Some(written) = update.await? {
            return write::written(&state, StatusCode::OK, written, warning).await;
        }
    }
    Err(contended())
}
