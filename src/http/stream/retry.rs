//! Refusals of streams that are worth another try.
//!
//! A browser's `EventSource` reconnects after a stream ends, but never after a status other than 200 (WHATWG HTML,
//! section 9.2.2). So a refusal that will pass is answered with a stream of one message that says when to come back.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{MatchedPath, Request},
    http::{HeaderValue, Method, StatusCode, header},
    response::Response,
};
use tokio_util::sync::CancellationToken;

use super::{attach::PARAMETERS, resume, sse, websocket};
use crate::{
    http::edge::{
        observe::CountedAs,
        paths::{BASE, STREAM, STREAM_OF_MANY},
        problem::Problem,
    },
    protocol::{Dialect, Ending, Message},
    session::retry_after_ms,
};

/// The stop of this node, before and while it happens.
#[derive(Clone, Debug)]
pub(crate) struct Stopping {
    /// The time over which a stop ends the connections.
    pub(crate) drain: Duration,
    /// Cancelled when this node begins to stop.
    pub(crate) leaving: CancellationToken,
}

/// A request for server-sent events.
#[derive(Debug)]
pub(crate) struct StreamRequest {
    last_event_id: Option<String>,
}

impl StreamRequest {
    /// Returns the request for a stream; `None` if it asks for something else.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        asks_for_stream(request).then(|| Self {
            last_event_id: last_event_id(request),
        })
    }

    /// Turns a refusal into a stream if another try may succeed.
    pub(crate) fn answer(self, stopping: &Stopping, response: Response) -> Response {
        if !is_worth_a_retry(response.status()) {
            return response;
        }
        let ending = if stopping.leaving.is_cancelled() {
            Ending::Shutdown
        } else {
            Ending::Overloaded
        };
        let spread = retry_after_ms(ending, stopping.drain).unwrap_or_default();
        let ended = Message::ended(
            ending,
            Some(requested_delay_ms(&response).saturating_add(spread)),
            // The client's own id: without one, an `EventSource` might forget its position.
            self.last_event_id.as_deref(),
            detail(&response),
        );
        let mut stream = Response::new(Body::from(ended.encode(Dialect::Sse)));
        stream.headers_mut().extend(sse::headers());
        // On the same TCP connection, the next try would reach the same node, whatever balances the load.
        let close = HeaderValue::from_static("close");
        stream.headers_mut().insert(header::CONNECTION, close);
        stream.extensions_mut().insert(CountedAs(response.status()));
        stream
    }
}

fn asks_for_stream(request: &Request) -> bool {
    let path = request.extensions().get::<MatchedPath>();
    let is_stream = |path: &str| matches!(path, STREAM | STREAM_OF_MANY);
    request.method() == Method::GET
        && path.is_some_and(|path| path.as_str().strip_prefix(BASE).is_some_and(is_stream))
        && !websocket::is_requested(request.headers())
        && sse::is_requested(request.headers())
}

fn last_event_id(request: &Request) -> Option<String> {
    let known = [&PARAMETERS[..], &resume::OF_MANY[..]].concat();
    let query = resume::query_with(request.uri(), &known, resume::SUBSCRIPTION).ok()?;
    let last = resume::last_event_id(request.headers(), &query).ok()??;
    last.into_valid_text()
}

/// Whether a refusal with this status will pass.
pub(crate) fn is_worth_a_retry(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    )
}

/// Returns the delay that the refusal's `Retry-After` asks for.
fn requested_delay_ms(refused: &Response) -> u64 {
    let after = refused.headers().get(header::RETRY_AFTER);
    let seconds = after.and_then(|value: &HeaderValue| value.to_str().ok()?.parse().ok());
    let after = Duration::from_secs(seconds.unwrap_or_default());
    u64::try_from(after.as_millis()).unwrap_or(u64::MAX)
}

fn detail(refused: &Response) -> Option<&str> {
    refused.extensions().get().map(Problem::detail)
}
