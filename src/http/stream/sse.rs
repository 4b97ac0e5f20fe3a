//! `GET /subscriptions/{id}/events` as server-sent events (WHATWG HTML, section 9.2).
//!
//! The task is that of a WebSocket's connection; here it writes an HTTP body.

use std::{future::ready, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Request, header},
    response::Response,
};

use super::attach;
use crate::{
    access::Caller,
    carrier::{Carrier, event_stream},
    http::edge::{
        AppState, accept,
        arrival::Arrival,
        origin,
        problem::{Kind, Problem},
    },
    protocol::Dialect,
};

const EVENT_STREAM: &str = "text/event-stream";

/// Whether a client wants server-sent events.
pub(crate) fn is_requested(headers: &HeaderMap) -> bool {
    accept::names(headers, EVENT_STREAM)
}

/// Begins the stream, or refuses the request.
pub(crate) async fn open(
    state: &AppState,
    id: String,
    caller: Arc<Caller>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let attach_request = attach::read_request(state, id, caller, Dialect::Sse, &request)?;
    origin::check(request.extensions())?;
    let gauge = Arrival::gauge_of(request.extensions());
    let gauge = gauge.ok_or_else(|| {
        Problem::new(
            Kind::InternalError,
            "the gauge of this TCP connection is missing",
        )
    })?;
    attach_request.ensure_visible(state).await?;
    let (stream, body) = event_stream(gauge);
    attach::attach(state, attach_request, ready(Some(Carrier::Stream(stream)))).await?;
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().extend(headers());
    // The TCP connection ends with the answer, so a client that takes nothing can be cut off without harm to another
    // request.
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    Ok(response)
}

/// Returns the headers of every stream: what kind it is, and how proxies should treat it.
pub(crate) fn headers() -> [(HeaderName, HeaderValue); 3] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM)),
        // A proxy that compresses would hold events back until it has enough of them.
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-store, no-transform"),
        ),
        // Otherwise nginx would hold events back.
        (
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_header_decides() {
        for (lines, expected) in [
            (&["text/event-stream"][..], true),
            (&["Text/Event-Stream"], true),
            (&["text/event-stream ;q=1"], true),
            (&["text/event-stream\t; charset=utf-8"], true),
            (&["application/json, text/event-stream;q=0.9"], true),
            (&["application/json ,text/event-stream"], true),
            (&["application/json", "text/event-stream"], true),
            (&["nonsense, text/event-stream"], true),
            (&["text/event-stream;q=0"], false),
            (&["text/event-stream; q=0.000, application/json"], false),
            (&["*/*"], false),
            (&["application/json"], false),
            (&["application/json; a=\", text/event-stream\""], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::ACCEPT, HeaderValue::from_static(line));
            }
            assert_eq!(is_requested(&headers), expected, "{lines:?}");
        }
    }
}
