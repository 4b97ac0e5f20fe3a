//! The layers around every request, whether the node serves, starts, or is full.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    access::Caller,
    config::Config,
    http::{
        edge::{
            AppState, answer,
            budget::Budget,
            caller,
            client_address::Proxies,
            cors,
            fallbacks::{self, unread},
            framing,
            hosts::Hosts,
            observe,
            origin::Origins,
        },
        stream::{
            retry::{Stopping, StreamRequest},
            websocket,
        },
    },
    telemetry::Metrics,
};

/// The settings and shared state of the layers. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    metrics: Arc<Metrics>,
    hosts: Arc<Hosts>,
    origins: Arc<Origins>,
    /// True if browsers prove who their users are without the page's doing: by a cookie or a certificate.
    browsers_prove: bool,
    pub(crate) proxies: Arc<Proxies>,
    stopping: Stopping,
}

impl Layers {
    /// Returns the layers of a node with these settings. `leaving` is cancelled when the node begins to stop.
    pub(crate) fn new(config: &Config, metrics: Arc<Metrics>, leaving: CancellationToken) -> Self {
        Self {
            metrics,
            hosts: Arc::new(Hosts::new(config)),
            origins: Arc::new(Origins::new(config)),
            browsers_prove: config.browser.cookie().is_some() || !config.tls.client_ca.is_empty(),
            proxies: Arc::new(Proxies::new(&config.proxy)),
            stopping: Stopping {
                drain: config.drain(),
                leaving,
            },
        }
    }

    /// Wraps these routes. Their answers share the budget `answers`, if there is one. A node that serves has a state, and
    /// identifies its callers.
    pub(crate) fn wrap<S: Clone + Send + Sync + 'static>(
        &self,
        routes: Router<S>,
        answers: Option<Budget>,
        serving: Option<AppState>,
    ) -> Router<S> {
        let exchange = Exchange {
            stopping: self.stopping.clone(),
            answers,
            serving,
        };
        // The last layer is the outermost.
        let routes = routes
            .layer(CatchPanicLayer::custom(fallbacks::panicked))
            .layer(middleware::from_fn_with_state(
                Arc::new(exchange),
                Exchange::run,
            ));
        let routes = match cors::layer(&self.origins, self.browsers_prove) {
            Some(cors) => routes.layer(cors),
            None => routes,
        };
        routes
            .layer(middleware::from_fn_with_state(
                Arc::new(self.clone()),
                place,
            ))
            .layer(middleware::from_fn_with_state(
                Arc::clone(&self.metrics),
                observe::observe,
            ))
    }
}

/// Finds out from where a request comes and to whom it goes: lets only those for this node through, and judges whether a
/// page of another origin asks. It comes before CORS, because a preflight is answered without a look at the rest.
async fn place(State(layers): State<Arc<Layers>>, mut request: Request, next: Next) -> Response {
    if layers.proxies.note_client(&mut request).is_err() {
        layers.metrics.http.forwarded_unusable.inc();
    }
    let wants_socket = websocket::is_requested(request.headers());
    let mut response = match layers.hosts.check(&request) {
        Ok(target) => {
            layers.origins.judge(&mut request, target.as_ref());
            next.run(request).await
        }
        Err(problem) => unread(problem),
    };
    if wants_socket && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // A proxy may take the upgrade for done, and what follows for the socket's.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

/// One request and its answer: refusals at the door, the caller, the answer's share of the budget, and its common headers.
///
/// This is one layer rather than four, because each layer copies those below it for every request.
#[derive(Debug)]
struct Exchange {
    stopping: Stopping,
    /// Bytes that all answers share; `None` where nothing is shared.
    answers: Option<Budget>,
    /// `None` where nobody is served.
    serving: Option<AppState>,
}

impl Exchange {
    /// Refuses the request or has it answered. The answer to a write is never refused for want of room: the write is
    /// done, and its client would do it again.
    async fn run(State(exchange): State<Arc<Self>>, request: Request, next: Next) -> Response {
        let is_safe = request.method().is_safe();
        let stream = StreamRequest::of(&request);
        let (response, caller) = match framing::check(request.headers()) {
            Err(problem) => (problem.into_response(), None),
            Ok(()) => exchange.serve(request, next).await,
        };
        let tenant = caller.as_ref().and_then(|caller| caller.tenant.as_deref());
        let response = match &exchange.answers {
            None => response,
            Some(budget) if is_safe => answer::take_share(budget, tenant, response).await,
            Some(budget) => answer::take_share_anyway(budget, tenant, response).await,
        };
        let mut response = match stream {
            Some(stream) => stream.answer(&exchange.stopping, response),
            None => response,
        };
        answer::add_common_headers(&mut response);
        response
    }

    /// Has the request answered. Also returns the caller, if it proved itself.
    async fn serve(&self, request: Request, next: Next) -> (Response, Option<Arc<Caller>>) {
        let (response, caller) = match &self.serving {
            None => (next.run(request).await, None),
            Some(state) => {
                let (request, caller) = caller::identify(state, request).await;
                let mut response = next.run(request).await;
                caller::complete(state, caller.is_some(), &mut response);
                (response, caller)
            }
        };
        (fallbacks::as_problem(response), caller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{
        edge::{
            paths::{STREAM, below},
            problem::{Kind, PROBLEM_JSON, Problem},
        },
        stream::retry::is_worth_a_retry,
    };
    use axum::{body::Body, routing::get};
    use tower::ServiceExt as _;

    async fn refused(kind: Kind, leaving: &CancellationToken) -> Response {
        let metrics = Arc::new(Metrics::default());
        let layers = Layers::new(&Config::default(), metrics, leaving.clone());
        let path = below(STREAM);
        let refuse = async move || Problem::new(kind, "the detail");
        let routes = layers.wrap(Router::new().route(&path, get(refuse)), None, None);
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
            let answer = refused(kind, &leaving).await;
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
            let answer = refused(Kind::NotReady, &leaving).await;
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
