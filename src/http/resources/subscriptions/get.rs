//! `GET /subscriptions/{id}`

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};

use super::{ack_progress::AckProgress, judge::judge_one, write::answer_subscription};
use crate::http::edge::{
    AppState, answer, caller::By, conditional::Preconditions, path_id::Id, problem::Problem,
    query::Query,
};

/// Shows a subscription as it is stored, and `invalid` if it cannot be used. A durable one also shows the progress of its
/// client, which does not count for the entity tag.
pub(crate) async fn get(
    State(state): State<AppState>,
    By(caller): By,
    Id(id): Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Query::read(&uri, &[])?;
    let conditions = Preconditions::read(&headers)?;
    let read = state.store.find_subscription(&id, &caller.sight()).await?;
    let document = read.document.ok_or_else(|| Problem::no_subscription(&id))?;
    let compiled = judge_one(&state, caller.tenant.as_deref(), document).await?;
    let etag = compiled.subscription.etag();
    conditions.check_match(&etag)?;
    if conditions.not_modified(&etag) {
        return answer::not_modified(&etag);
    }
    let mut response = answer_subscription(StatusCode::OK, &compiled.subscription, &[])?;
    if compiled.subscription.durable {
        let progress = AckProgress::of(&state, &id).await?;
        *response.body_mut() = progress.add_to(&compiled.subscription.to_json()).into();
    }
    Ok(response)
}
