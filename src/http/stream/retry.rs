//! Refusals of streams that are worth another try.
//!
//! A browser's `EventSource` comes back after every end of a stream, and never after any status but 200
//! (WHATWG HTML, section 9.2.2). So a refusal that does not last is a stream of one message: when to come back.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{MatchedPath, Request},
    http::{HeaderValue, Method, StatusCode, header},
    response::Response,
};

use super::{attach::WISHES, resume, sse, websocket};
use crate::{
    http::{
        edge::{
            observe::Counted,
            paths::{BASE, STREAM},
            problem::Problem,
        },
        layers::Common,
    },
    protocol::{Dialect, Ending, Message},
    session::retry_after_ms,
};

/// A request for a stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Where its client was.
    last: Option<String>,
}

impl Stream {
    /// The stream that a request asks for, if it does.
    pub(crate) fn asked_for(request: &Request) -> Option<Self> {
        asks_for_stream(request).then(|| Self {
            last: place(request),
        })
    }

    /// Answers a refusal with a stream, where another try may succeed.
    pub(crate) fn answer(self, common: &Common, response: Response) -> Response {
        if !is_worth_a_retry(response.status()) {
            return response;
        }
        let ending = if common.leaving.is_cancelled() {
            Ending::Shutdown
        } else {
            Ending::Overloaded
        };
        let spread = retry_after_ms(ending, common.drain).unwrap_or_default();
        let ended = Message::ended(
            ending,
            Some(not_before(&response).saturating_add(spread)),
            // Its own, or an `EventSource` might take the place for lost.
            self.last.as_deref(),
            detail(&response),
        );
        let mut stream = Response::new(Body::from(ended.encode(Dialect::Sse)));
        stream.headers_mut().extend(sse::headers());
        // On the same TCP connection the next try would come to the same node, behind whatever balances them.
        let close = HeaderValue::from_static("close");
        stream.headers_mut().insert(header::CONNECTION, close);
        stream.extensions_mut().insert(Counted(response.status()));
        stream
    }
}

fn asks_for_stream(request: &Request) -> bool {
    let path = request.extensions().get::<MatchedPath>();
    request.method() == Method::GET
        && path.is_some_and(|path| path.as_str().strip_prefix(BASE) == Some(STREAM))
        && !websocket::is_asked_for(request.headers())
        && sse::is_asked_for(request.headers())
}

/// Where the client was.
fn place(request: &Request) -> Option<String> {
    let query = resume::query(request.uri(), &WISHES).ok()?;
    let last = resume::last(request.headers(), &query).ok()??;
    last.readable()
}

fn is_worth_a_retry(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    )
}

/// Milliseconds for which the refusal asks.
fn not_before(refused: &Response) -> u64 {
    let after = refused.headers().get(header::RETRY_AFTER);
    let seconds = after.and_then(|value: &HeaderValue| value.to_str().ok()?.parse().ok());
    let after = Duration::from_secs(seconds.unwrap_or_default());
    u64::try_from(after.as_millis()).unwrap_or(u64::MAX)
}

fn detail(refused: &Response) -> Option<&str> {
    refused.extensions().get().map(Problem::detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        http::edge::problem::{Kind, PROBLEM_JSON},
        telemetry::Metrics,
    };
    use axum::{Router, routing::get};
    use std::sync::Arc;
    use tokio_util::sync::CancellationToken;
    use tower::ServiceExt as _;

    async fn answer(kind: Kind, leaving: &CancellationToken) -> Response {
        let metrics = Arc::new(Metrics::default());
        let common = Common::new(&Config::default(), metrics, leaving.clone());
        let path = format!("{BASE}{STREAM}");
        let refuse = async move || Problem::new(kind, "the detail");
        let routes = common.around(Router::new().route(&path, get(refuse)), None);
        let request = Request::builder()
            .uri(path.replace("{id}", "a"))
            .header(header::HOST, "localhost")
            .header(header::ACCEPT, "text/event-stream");
        let request = request.body(Body::empty()).unwrap();
        routes.oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn a_refusal_is_a_stream_where_another_try_may_succeed() {
        let leaving = CancellationToken::new();
        for kind in Kind::ALL {
            let lasts = !is_worth_a_retry(kind.status());
            let answer = answer(kind, &leaving).await;
            let expected = if lasts { kind.status() } else { StatusCode::OK };
            assert_eq!(answer.status(), expected, "{kind:?}");
            let is_problem = answer.headers()[header::CONTENT_TYPE] == PROBLEM_JSON;
            assert_eq!(is_problem, lasts, "{kind:?}");
        }
    }

    #[tokio::test]
    async fn a_node_that_stops_says_so() {
        let leaving = CancellationToken::new();
        for reason in ["overloaded", "shutdown"] {
            let answer = answer(Kind::NotReady, &leaving).await;
            let body = axum::body::to_bytes(answer.into_body(), 9_999)
                .await
                .unwrap();
            let text = std::str::from_utf8(&body).unwrap();
            assert!(text.contains(&format!("\"reason\":\"{reason}\"")), "{text}");
            assert!(text.contains("\"detail\":\"the detail\""), "{text}");
            leaving.cancel();
        }
    }
}
