//! `GET /subscriptions/{id}/events`: a socket, a stream of server-sent events, or a page of the past.

use axum::{body::Body, extract::State, http::Request, response::Response};

use super::{sse, websocket};
use crate::http::{
    edge::{AppState, path_id::Id, problem::Problem},
    resources::events::matches,
};

/// Chooses by what the request asks for.
pub(crate) async fn open(
    State(state): State<AppState>,
    Id(id): Id,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let headers = request.headers();
    if websocket::is_asked_for(headers) {
        websocket::open(&state, id, request).await
    } else if sse::is_asked_for(headers) {
        sse::open(&state, id, request).await
    } else {
        matches::list(&state, &id, request.uri()).await
    }
}
