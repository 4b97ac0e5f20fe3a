//! The layers around every request, whether the node serves, starts, or is full.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

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
        let around = Arc::new(Around {
            layers: self.clone(),
            exchange: Exchange {
                stopping: self.stopping.clone(),
                answers,
                serving,
            },
        });
        // Each layer copies those below it for every request, so there is one, unless another has to come in between. The
        // last is the outermost.
        match cors::layer(&self.origins, self.browsers_prove) {
            None => routes.layer(from_fn_with_state(around, Around::both)),
            Some(cors) => routes
                .layer(from_fn_with_state(Arc::clone(&around), Around::inner))
                .layer(cors)
                .layer(from_fn_with_state(around, Around::outer)),
        }
    }

    /// Observes a request, finds out from where it comes and to whom it goes, and has it answered if it is for this node.
    /// This comes before CORS, because a preflight is answered without a look at the rest.
    async fn receive<A: Future<Output = Response>>(
        &self,
        request: Request,
        answer: impl FnOnce(Request) -> A,
    ) -> Response {
        let placed = async |request| self.place(request, answer).await;
        observe::observe(&self.metrics, request, placed).await
    }

    /// Lets only requests for this node through, and judges whether a page of another origin asks.
    async fn place<A: Future<Output = Response>>(
        &self,
        mut request: Request,
        answer: impl FnOnce(Request) -> A,
    ) -> Response {
        if self.proxies.note_client(&mut request).is_err() {
            self.metrics.http.forwarded_unusable.inc();
        }
        let wants_socket = websocket::is_requested(request.headers());
        let mut response = match self.hosts.check(&request) {
            Ok(target) => {
                self.origins.judge(&mut request, target.as_ref());
                answer(request).await
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
}

/// All that is around a route.
#[derive(Debug)]
struct Around {
    layers: Layers,
    exchange: Exchange,
}

impl Around {
    async fn both(State(around): State<Arc<Self>>, request: Request, next: Next) -> Response {
        let Self { layers, exchange } = &*around;
        let answer = |request| exchange.run(request, next);
        layers.receive(request, answer).await
    }

    async fn outer(State(around): State<Arc<Self>>, request: Request, next: Next) -> Response {
        let answer = |request| next.run(request);
        around.layers.receive(request, answer).await
    }

    async fn inner(State(around): State<Arc<Self>>, request: Request, next: Next) -> Response {
        around.exchange.run(request, next).await
    }
}

/// One request and its answer: refusals at the door, the caller, the answer's share of the budget, and its common headers.
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
    async fn run(&self, request: Request, next: Next) -> Response {
        let is_safe = request.method().is_safe();
        let stream = StreamRequest::of(&request);
        let (response, caller) = match framing::check(request.headers()) {
            Err(problem) => (problem.into_response(), None),
            Ok(()) => self.serve(request, next).await,
        };
        let tenant = caller.as_ref().and_then(|caller| caller.tenant.as_deref());
        let response = match &self.answers {
            None => response,
            Some(budget) if is_safe => answer::take_share(budget, tenant, response).await,
            Some(budget) => answer::take_share_anyway(budget, tenant, response).await,
        };
        let mut response = match stream {
            Some(stream) => stream.answer(&self.stopping, response),
            None => response,
        };
        answer::add_common_headers(&mut response);
        response
    }

    /// Has the request answered. Also returns the caller, if it proved itself.
    async fn serve(&self, request: Request, next: Next) -> (Response, Option<Arc<Caller>>) {
        let (response, caller) = match &self.serving {
            None => (handle(request, next).await, None),
            Some(state) => {
                let (request, caller) = caller::identify(state, request).await;
                let mut response = handle(request, next).await;
                caller::complete(state, caller.is_some(), &mut response);
                (response, caller)
            }
        };
        (fallbacks::as_problem(response), caller)
    }
}

/// Has a request handled. A panic ends that request alone.
async fn handle(request: Request, next: Next) -> Response {
    let handled = AssertUnwindSafe(next.run(request)).catch_unwind();
    handled.await.unwrap_or_else(fallbacks::panicked)
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
    async fn a_panic_is_a_problem_with_the_headers_of_all_answers() {
        let layers = Layers::new(&Config::default(), Arc::default(), CancellationToken::new());
        let panic = async || -> StatusCode { panic!("oh") };
        let routes = layers.wrap(Router::new().route("/panic", get(panic)), None, None);
        let request = Request::builder()
            .uri("/panic")
            .header(header::HOST, "localhost");
        let request = request.body(Body::empty()).unwrap();
        let answer = routes.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
        assert!(answer.headers().contains_key(observe::REQUEST_ID));
        assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
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
