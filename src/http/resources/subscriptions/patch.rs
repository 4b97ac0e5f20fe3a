//! `PATCH /subscriptions/{id}`: a merge patch (RFC 7396), but `filter` and `metadata` are replaced
//! whole. A filter is a program, not a record: merging two would make a third that nobody wrote.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bson::DateTime;

use super::{input::read, not_found, tries::Tries, write};
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
    let (conditions, checked) = read(&state, &id, request, body::MERGE_PATCH, true).await?;
    let warnings = &checked.warnings;
    let mut tries = Tries::new(&state, &id);
    loop {
        let mut found = tries.read().await?;
        let Some(document) = found.document.take() else {
            return Err(tries.refuse(&found, not_found(&id)).await);
        };
        if let Err(problem) = conditions.check(Some(&etag(&document))) {
            return Err(tries.refuse(&found, problem).await);
        }
        if let Err(problem) = checked.check_kept(&document) {
            return Err(tries.refuse(&found, problem).await);
        }
        let changes = checked.input.patch(&document, DateTime::now());
        if changes.is_empty() {
            return write::unchanged(&state, found, document, warnings).await;
        }
        let update = state
            .store
            .update_subscription(&document, changes.set, &changes.unset);
        if let Some(written) = update.await? {
            return write::written(&state, StatusCode::OK, written, warnings).await;
        }
    }
}
