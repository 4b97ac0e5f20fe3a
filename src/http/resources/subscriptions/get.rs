//! `GET /subscriptions/{id}`

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};

use super::{judged_one, not_found, progress::Progress};
use crate::http::edge::{
    AppState, answer, conditional::Preconditions, path_id::Id, problem::Problem, query::Query,
};

/// One subscription as it is stored, and `invalid` where it cannot be used; for a durable one also how
/// far its client is. The entity tag is that of the document alone.
pub(crate) async fn get(
    State(state): State<AppState>,
    Id(id): Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let conditions = Preconditions::read(&headers)?;
    let read = state.store.find_subscription(&id).await?;
    let document = read.document.ok_or_else(|| not_found(&id))?;
    let compiled = judged_one(&state, document).await?;
    let etag = compiled.subscription.etag();
    conditions.check_match(&etag)?;
    if conditions.not_modified(&etag) {
        return answer::not_modified(&etag);
    }
    let mut response = answer::subscription(StatusCode::OK, &compiled, &[])?;
    if compiled.subscription.durable {
        let progress = Progress::of(&state, &id).await?;
        *response.body_mut() = progress.joined(&compiled.subscription.to_json()).into();
    }
    Ok(response)
}
