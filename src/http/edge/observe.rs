//! What happens to every request on its way in and out: its id, one log line, one count; and that
//! every refusal is a problem document, whoever refused.

use std::{any::Any, sync::Arc, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::Instrument as _;

use super::{
    abort::words,
    paths::is_probe,
    problem::{Kind, PROBLEM_JSON, Problem},
};
use crate::telemetry::Metrics;

/// Names a request in the log, across services.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The target of log lines about writes over HTTP: ids and counts, at the level `debug`.
pub(crate) const WRITES: &str = "tidegate::writes";
const REQUEST_ID_BYTES: usize = 128;
const UNMATCHED: &str = "unmatched";

/// The status that an answer counts as, where it is another than its own: a refusal may look like a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted(pub(crate) StatusCode);

/// Gives the request its id, and logs and counts it.
pub(crate) async fn observe(
    State(metrics): State<Arc<Metrics>>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = request_id(&request);
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or(UNMATCHED, MatchedPath::as_str)
        .to_owned();
    let probe = is_probe(request.uri().path());
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default());
    let mut response = next.run(request).instrument(span.clone()).await;
    response.headers_mut().insert(REQUEST_ID, id);
    let counted = response.extensions().get::<Counted>();
    let status = counted
        .map_or(response.status(), |counted| counted.0)
        .as_u16();
    metrics.http_request(method.as_str(), &route, status);
    span.in_scope(|| log(&method, &route, status, probe, started));
    response
}

/// A probe that is told "not yet" has its answer: that is no failure.
fn log(method: &Method, route: &str, status: u16, probe: bool, started: Instant) {
    let latency_ms = started.elapsed().as_secs_f64() * 1e3;
    if status >= 500 && !probe {
        tracing::info!(%method, route, status, latency_ms, "request failed");
    } else {
        tracing::debug!(%method, route, status, latency_ms, "request");
    }
}

/// The caller's id where it is sane, else one of ours.
fn request_id(request: &Request) -> HeaderValue {
    let sane = |value: &&HeaderValue| {
        (1..=REQUEST_ID_BYTES).contains(&value.len())
            && value.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    match request.headers().get(&REQUEST_ID).filter(sane) {
        Some(id) => id.clone(),
        None => HeaderValue::from_str(&uuid::Uuid::now_v7().simple().to_string())
            .unwrap_or_else(|_| HeaderValue::from_static("unnamed")),
    }
}

/// Turns refusals that others worded (the router's, an extractor's) into problem documents.
pub(crate) fn shaped(response: Response) -> Response {
    let status = response.status();
    let shaped = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == PROBLEM_JSON || kind == "application/json");
    if shaped || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (parts, _) = response.into_parts();
    let kind = Kind::of_status(status);
    let mut answer = Problem::new(kind, detail(status)).into_response();
    for name in [header::ALLOW, header::RETRY_AFTER, header::UPGRADE] {
        if let Some(value) = parts.headers.get(&name) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    answer
}

fn detail(status: StatusCode) -> &'static str {
    status
        .canonical_reason()
        .unwrap_or("the request was refused")
}

/// Refuses an `Expect` that nobody here can meet.
pub(crate) fn refuse(headers: &HeaderMap) -> Option<Problem> {
    let wish = headers.get(header::EXPECT)?;
    let known = wish.as_bytes().eq_ignore_ascii_case(b"100-continue");
    (!known).then(|| {
        Problem::header(
            Kind::ExpectationFailed,
            "Expect",
            "only 100-continue is understood",
        )
    })
}

/// The answer where a handler panicked.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature is tower-http's"
)]
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    tracing::error!(
        panic = words(panic.as_ref()),
        "a request's handler panicked"
    );
    Problem::new(
        Kind::InternalError,
        "the service failed to answer; its log says why",
    )
    .into_response()
}

/// No call has this path.
pub(crate) async fn not_found() -> Problem {
    Problem::new(Kind::NotFound, "no call has this path")
}

/// The path exists, the method does not; the router adds `Allow`.
pub(crate) async fn method_not_allowed(method: Method) -> Problem {
    Problem::new(
        Kind::MethodNotAllowed,
        format!("{method} is not taken here; Allow lists the methods"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, body::Body, middleware::map_response, routing::get};
    use tower::ServiceExt as _;
    use tower_http::catch_panic::CatchPanicLayer;

    async fn answer(path: &str) -> Response {
        let routes = Router::new()
            .route("/plain", get(async || (StatusCode::BAD_REQUEST, "no")))
            .route("/teapot", get(async || StatusCode::IM_A_TEAPOT))
            .route("/panic", get(async || -> StatusCode { panic!("oh") }))
            .route("/fine", get(async || "text"))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(map_response(async |response| shaped(response)));
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        routes.oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn refusals_that_others_worded_become_problems() {
        for (path, status) in [("/plain", 400), ("/teapot", 400), ("/panic", 500)] {
            let answer = answer(path).await;
            assert_eq!(answer.status().as_u16(), status, "{path}");
            assert_eq!(answer.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
            let body = axum::body::to_bytes(answer.into_body(), 9_999)
                .await
                .unwrap();
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["status"], status, "{path}");
        }
    }

    #[tokio::test]
    async fn what_is_fine_stays_as_it_is() {
        let answer = answer("/fine").await;
        assert_eq!(answer.status(), StatusCode::OK);
        let kind = &answer.headers()[header::CONTENT_TYPE];
        assert_eq!(kind, "text/plain; charset=utf-8");
    }

    #[test]
    fn a_callers_request_id_is_kept_where_it_is_sane() {
        for (given, kept) in [("mine-1", true), ("a b", false), (&*"x".repeat(129), false)] {
            let request = Request::builder().header(REQUEST_ID, given);
            let request = request.body(Body::empty()).unwrap();
            assert_eq!(request_id(&request) == given, kept, "{given}");
        }
    }
}
