//! `GET /subscriptions/{id}/events`: a socket, a stream of server-sent events, or a page of the past.

use axum::{body::Body, extract::State, http::Request, response::Response};

use super::{AppState, extract::Id, past, problem::Problem, socket, sse};

/// Chooses by what the request asks for.
pub(crate) async fn open(
    State(state): State<AppState>,
    Id(id): Id,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let headers = request.headers();
    if socket::is_asked_for(headers) {
        socket::open(&state, id, request).await
    } else if sse::is_asked_for(headers) {
        sse::open(&state, id, request).await
    } else {
        past::page(&state, &id, request.uri()).await
    }
}
