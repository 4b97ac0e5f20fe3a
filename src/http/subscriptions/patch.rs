//! `PATCH /subscriptions/{id}`: a merge patch (RFC 7396), but `filter` and `metadata` are replaced
//! whole. A filter is a program, not a record: merging two would make a third that nobody wrote.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bson::DateTime;

use super::{ATTEMPTS, contended, input::check, not_found, pause_before, write};
use crate::{
    http::{
        AppState, body, conditional::Preconditions, extract::Id, problem::Problem, query::Query,
    },
    subscription::etag,
};

/// Changes the fields that the request names, and no others.
pub(crate) async fn patch(
    State(state): State<AppState>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Problem> {
    Query::read(request.uri(), &[])?;
    let conditions = Preconditions::read(request.headers())?;
    body::MERGE_PATCH.check(request.headers())?;
    let limits = &state.config.limits;
    let (parts, body) = request.into_parts();
    let body = body::read(&parts.headers, body, limits.body_bytes, limits.body_timeout).await?;
    let checked = check(body::json(&body)?, "#", Some(&id), limits)?;
    let warning = checked.warning.as_deref();
    for attempt in 0..ATTEMPTS {
        pause_before(attempt).await;
        let mut read = state.store.find_subscription(&id).await?;
        let document = read.document.take().ok_or_else(|| not_found(&id))?;
        conditions.check(Some(&etag(&document)))?;
        let changes = checked.input.patch(&document, DateTime::now());
        if changes.is_empty() {
            return write::unchanged(&state, read, document, warning).await;
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
