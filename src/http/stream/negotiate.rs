//! `GET /subscriptions/{id}/events`: a WebSocket, a stream of server-sent events, or a page of past matches.

use axum::{body::Body, extract::State, http::Request, response::Response};

use super::{sse, websocket};
use crate::http::{
    edge::{AppState, path_id::Id, problem::Problem},
    resources::events::matches,
};

/// Answers in the form that the request asks for.
pub(crate) async fn open(
    State(state): State<AppState>,
    Id(id): Id,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let headers = request.headers();
    if websocket::is_requested(headers) {
        websocket::open(&state, id, request).await
    } else if sse::is_requested(headers) {
        sse::open(&state, id, request).await
    } else {
        matches::list(&state, &id, request.uri()).await
    }
}
