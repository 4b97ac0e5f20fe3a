//! The id, the log line and the count of every request.

use std::{future::Future, time::Instant};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue, Method, StatusCode},
    response::Response,
};
use tracing::Instrument as _;

use super::paths::is_probe;
use crate::telemetry::Metrics;

/// The header that names a request in the logs of every service it passes.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The target of log lines about writes over HTTP: ids and counts, at the level `debug`.
pub(crate) const WRITES: &str = "tidegate::writes";
const REQUEST_ID_BYTES: usize = 128;
const UNMATCHED: &str = "unmatched";

/// The status under which an answer is counted if it differs from its own: a refusal may look like a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CountedAs(pub(crate) StatusCode);

/// The id of a request that acts, for those who tell of it.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// Returns the id, which is of visible ASCII characters.
    pub(crate) fn text(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// Gives the request its id, has it answered, and logs and counts it.
pub(crate) async fn observe<A: Future<Output = Response>>(
    metrics: &Metrics,
    mut request: Request,
    answer: impl FnOnce(Request) -> A,
) -> Response {
    let started = Instant::now();
    let id = request_id(&request);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    let probe = is_probe(request.uri().path());
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default());
    if !method.is_safe() {
        // Only acts are told of.
        request.extensions_mut().insert(RequestId(id.clone()));
    }
    let mut response = answer(request).instrument(span.clone()).await;
    response.headers_mut().insert(REQUEST_ID, id);
    let counted = response.extensions().get::<CountedAs>();
    let status = counted
        .map_or(response.status(), |counted| counted.0)
        .as_u16();
    metrics.http.request(method.as_str(), route, status);
    span.in_scope(|| log(&method, route, status, probe, started));
    response
}

/// Logs a request. A probe that is answered "not yet" has not failed.
fn log(method: &Method, route: &str, status: u16, probe: bool, started: Instant) {
    let latency_ms = started.elapsed().as_secs_f64() * 1e3;
    if status >= 500 && !probe {
        tracing::info!(%method, route, status, latency_ms, "request failed");
    } else {
        tracing::debug!(%method, route, status, latency_ms, "request");
    }
}

/// Returns the caller's id if it is usable, else a new one.
fn request_id(request: &Request) -> HeaderValue {
    let usable = |value: &&HeaderValue| {
        (1..=REQUEST_ID_BYTES).contains(&value.len())
            && value.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    match request.headers().get(&REQUEST_ID).filter(usable) {
        Some(id) => id.clone(),
        None => HeaderValue::from_str(&uuid::Uuid::now_v7().simple().to_string())
            .unwrap_or_else(|_| HeaderValue::from_static("unnamed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[test]
    fn a_callers_request_id_is_kept_where_it_is_usable() {
        for (given, kept) in [("mine-1", true), ("a b", false), (&*"x".repeat(129), false)] {
            let request = Request::builder().header(REQUEST_ID, given);
            let request = request.body(Body::empty()).unwrap();
            assert_eq!(request_id(&request) == given, kept, "{given}");
        }
    }
}
