//! `GET /subscriptions/{id}/events`: a WebSocket, a stream of server-sent events, or a page of past matches.
//!
//! A stream ends here where the connection's task begins: this module knows nothing of sockets once they are upgraded.

mod attach;
#[cfg(test)]
pub(crate) mod echo;
pub(crate) mod many;
mod refresh;
mod resume;
pub(crate) mod retry;
mod sse;
pub(crate) mod websocket;

use axum::{body::Body, extract::State, http::Request, response::Response};

use crate::{
    access::Quota,
    http::{
        edge::{AppState, caller::By, path_id::Id, problem::Problem},
        resources::events::matches,
    },
};

/// Returns the quota that a request counts towards.
pub(crate) fn counts(request: &Request<Body>) -> Quota {
    let headers = request.headers();
    if websocket::is_requested(headers) || sse::is_requested(headers) {
        Quota::ConnectsPerSecond
    } else {
        Quota::RequestsPerSecond
    }
}

/// Answers in the form that the request asks for.
pub(crate) async fn open(
    State(state): State<AppState>,
    Id(id): Id,
    By(caller): By,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let headers = request.headers();
    if websocket::is_requested(headers) {
        websocket::open(&state, id, caller, request).await
    } else if sse::is_requested(headers) {
        sse::open(&state, id, caller, request).await
    } else {
        // Boxed: it is large, and every connecting client would have room for it.
        Box::pin(matches::list(&state, &id, &caller, request.uri())).await
    }
}
