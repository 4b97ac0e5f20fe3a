//! The route table: each call with its handler and its description. The calls on one resource are in one file.

mod audit;
mod events;
mod examples;
mod keys;
mod matching;
mod policies;
mod revocations;
mod service;
mod streams;
mod subscriptions;

use axum::{
    handler::Handler,
    http::{Method, StatusCode},
    routing::{MethodFilter, MethodRouter, on},
};

pub(crate) use self::subscriptions::one_subscription;
use crate::{
    access::Scope,
    config::Limits,
    http::{
        edge::{
            AppState, Description,
            guarded::Guarded,
            needs::Need,
            problem::Kind,
            quotas::{self, Counts},
        },
        openapi::{self, Operation},
    },
};

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const JSON: &str = "application/json";
const OK: StatusCode = StatusCode::OK;
/// The headers of the answer to a write.
const WRITTEN: [&str; 2] = ["ETag", "Tidegate-Applied"];
const CREATED: [&str; 3] = ["ETag", "Location", "Tidegate-Applied"];

/// Callers who receive events.
const RECEIVING: Need = Need::UnderPolicy(&[Scope::EventsRead]);

/// A call: one method on one path.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) route: MethodRouter<AppState>,
    pub(crate) operation: Operation,
}

fn call<H, T>(method: Method, path: &str, need: Need, handler: H, operation: Operation) -> Call
where
    H: Handler<T, AppState>,
    T: 'static,
{
    counted(method, path, need, quotas::as_request, handler, operation)
}

/// Returns a call that counts towards another quota than most.
fn counted<H, T>(
    method: Method,
    path: &str,
    need: Need,
    counts: Counts,
    handler: H,
    operation: Operation,
) -> Call
where
    H: Handler<T, AppState>,
    T: 'static,
{
    // Every standard method has a filter.
    let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
    // The answer to a call that changes nothing is refused if it would take too much of the budget.
    let operation = if method.is_safe() {
        operation.refuses(&[Kind::TooLarge])
    } else {
        operation
    };
    let handler = Guarded {
        need,
        counts,
        handler,
    };
    Call {
        method,
        path: path.to_owned(),
        route: on(filter, handler),
        operation: operation.needs(need),
    }
}

/// Returns the description of all calls of a node with these limits.
pub(crate) fn description(limits: Limits) -> Description {
    Description::new(move || {
        let calls = calls(&limits).into_iter();
        let described = calls.map(|call| (call.method, call.path, call.operation));
        openapi::describe(&limits, described)
    })
}

/// Returns all calls of a node with these limits.
pub(crate) fn calls(limits: &Limits) -> Vec<Call> {
    let mut all = subscriptions::all(limits);
    all.extend(events::all(limits));
    all.extend(matching::all());
    all.extend(keys::all(limits));
    all.extend(policies::all(limits));
    all.extend(revocations::all(limits));
    all.extend(audit::all(limits));
    all.extend(streams::all());
    all.extend(service::all());
    all
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{
        Router,
        body::{Body, to_bytes},
        http::{HeaderName, Request, header},
    };
    use serde_json::Value;
    use tokio_util::sync::CancellationToken;
    use tower::ServiceExt as _;

    use super::*;
    use crate::{
        config::Config,
        http::{edge::budget::Budget, full, layers::Layers, starting},
    };

    /// Sends each call to these routes, and checks that its description lists the refusal.
    async fn check(routes: &Router, header: Option<(HeaderName, &str)>, expected: Kind) {
        for call in calls(&Limits::default()) {
            let mut request = Request::builder()
                .method(&call.method)
                .uri(call.path.replace("{id}", "a"))
                .header(header::HOST, "localhost");
            if let Some((name, value)) = &header {
                request = request.header(name, *value);
            }
            let request = request.body(Body::empty()).unwrap();
            let answer = routes.clone().oneshot(request).await.unwrap();
            let what = format!("{} {}", call.method, call.path);
            if answer.status().is_success() {
                continue;
            }
            let status = answer.status().as_str().to_owned();
            let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
            let problem: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["type"], format!("/problems/{}", expected.slug()));
            let described = call.operation.to_json();
            let content = &described["responses"][status]["content"];
            let types =
                &content["application/problem+json"]["schema"]["properties"]["type"]["enum"];
            let types = types.as_array().unwrap_or_else(|| panic!("{what}"));
            assert!(types.contains(&problem["type"]), "{what}: {problem}");
        }
    }

    /// Returns routes that answer every call that changes nothing with more than the budget.
    fn too_large(layers: &Layers) -> Router {
        let budget = Budget::new(8 << 10, "tests", &Arc::default());
        let routes = Router::new().fallback(async |method: Method| {
            let bytes = if method.is_safe() { 8 << 10 } else { 0 };
            Body::from("x".repeat(bytes))
        });
        layers.wrap(routes, Some(budget), None)
    }

    #[tokio::test]
    async fn refusals_of_any_call_are_described_at_each() {
        let layers = Layers::new(&Config::default(), Arc::default(), CancellationToken::new());
        let coding = (header::TRANSFER_ENCODING, "gzip");
        check(&starting(&layers), None, Kind::NotReady).await;
        check(&starting(&layers), Some(coding), Kind::BadHeader).await;
        check(&full(&layers), None, Kind::Overloaded).await;
        check(&too_large(&layers), None, Kind::TooLarge).await;
    }
}
