//! `GET /subscriptions/{id}/events` as server-sent events (WHATWG HTML, section 9.2).
//!
//! The same connection as a WebSocket's, in other clothes: its task writes the body.

use std::{future::ready, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Request, header},
    response::Response,
};

use super::attach;
use crate::{
    carrier::{Carrier, TcpGauge, event_stream},
    http::edge::{
        AppState, accept, origin,
        problem::{Kind, Problem},
        read_your_writes::known,
    },
    protocol::Dialect,
};

const EVENT_STREAM: &str = "text/event-stream";

/// Whether a client wants server-sent events.
pub(crate) fn is_asked_for(headers: &HeaderMap) -> bool {
    accept::names(headers, EVENT_STREAM)
}

/// Begins the answer, or says why not.
pub(crate) async fn open(
    state: &AppState,
    id: String,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let wish = attach::wish(state, id, Dialect::Sse, &request)?;
    origin::check(request.extensions())?;
    let gauge = request.extensions().get::<Arc<TcpGauge>>().cloned();
    let gauge = gauge.ok_or_else(|| {
        Problem::new(
            Kind::InternalError,
            "nothing tells how this client is served",
        )
    })?;
    known(state, &wish.request.subscription).await?;
    let (stream, body) = event_stream(gauge);
    attach::take(state, wish, ready(Some(Carrier::Stream(stream)))).await?;
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().extend(headers());
    // The end of the answer is the end of the TCP connection: a client that does not take it is
    // cut off without harm to another request.
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    Ok(response)
}

/// What every stream says of itself to those on the way.
pub(crate) fn headers() -> [(HeaderName, HeaderValue); 3] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM)),
        // What compresses answers would hold events back until it has enough of them.
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-store, no-transform"),
        ),
        // nginx would hold events back otherwise.
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
            assert_eq!(is_asked_for(&headers), expected, "{lines:?}");
        }
    }
}
