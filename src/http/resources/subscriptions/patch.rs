//! `PATCH /subscriptions/{id}`: a merge patch (RFC 7396), except that `filter` and `metadata` are replaced whole. A filter
//! is a program, not a record: merging two would make a third that nobody wrote.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bson::DateTime;

use super::{
    attempts::Attempts,
    input::read_request,
    write::{answer_unchanged, answer_written},
};
use crate::{
    http::edge::{AppState, body, path_id::Id, problem::Problem},
    subscription::etag,
};

/// Changes the fields that the request names, and no others.
pub(crate) async fn patch(
    State(state): State<AppState>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Problem> {
    let (conditions, checked) = read_request(&state, &id, request, body::MERGE_PATCH, true).await?;
    let mut attempts = Attempts::new(&state, &id);
    loop {
        let mut found = attempts.read().await?;
        let Some(document) = found.document.take() else {
            return Err(attempts.refuse(&found, Problem::no_subscription(&id)).await);
        };
        if let Err(problem) = conditions.check(Some(&etag(&document))) {
            return Err(attempts.refuse(&found, problem).await);
        }
        if let Err(problem) = checked.check_kept(&document) {
            return Err(attempts.refuse(&found, problem).await);
        }
        let changes = checked.input.patch(&document, DateTime::now());
        if changes.is_empty() {
            return answer_unchanged(&state, found, document, &checked).await;
        }
        let update = state
            .store
            .update_subscription(&document, changes.set, &changes.unset);
        if let Some(written) = update.await? {
            return answer_written(&state, StatusCode::OK, written, &checked).await;
        }
    }
}
