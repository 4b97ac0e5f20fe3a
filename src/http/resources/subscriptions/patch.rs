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
    input::{Expected, check_body, fixed_for, read_request},
    write::{answer_unchanged, answer_written},
};
use crate::{
    access::Binding,
    http::edge::{AppState, acting::Acting, body, path_id::Id, problem::Problem},
    subscription::etag,
};

/// Changes the fields that the request names, and no others.
pub(crate) async fn patch(
    State(state): State<AppState>,
    acting: Acting,
    Id(id): Id,
    request: Request,
) -> Result<Response, Problem> {
    let caller = &*acting.caller;
    let (conditions, body) = read_request(&state, caller, request, body::MERGE_PATCH).await?;
    let mut attempts = Attempts::new(&state, &id, caller);
    let (mut found, mut document) = attempts.find().await?;
    let expected = Expected {
        id: Some(id.clone()),
        partial: true,
        fixed: fixed_for(caller),
    };
    let checked = check_body(&state, caller, body, expected).await?;
    loop {
        if let Err(problem) = conditions.check(Some(&etag(&document))) {
            return Err(attempts.refuse(&found, problem).await);
        }
        if let Err(problem) = checked.check_kept(&document) {
            return Err(attempts.refuse(&found, problem).await);
        }
        let policies = state.router().credentials().policies();
        let binding = Binding::of_changing(caller, &document, &policies);
        let changes = checked.input.patch(&document, &binding, DateTime::now());
        if changes.is_empty() {
            return answer_unchanged(&state, found, document, &checked).await;
        }
        let update = state.store.update_subscription(
            &document,
            changes.set,
            &changes.unset,
            attempts.reach(),
            acting.proved(),
        );
        if let Some(written) = update.await? {
            return answer_written(&state, StatusCode::OK, written, &checked).await;
        }
        (found, document) = attempts.find().await?;
    }
}
