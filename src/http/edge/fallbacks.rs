//! Answers where no handler gives one: unknown paths, unreadable requests, panics, and the refusals of libraries.

use std::any::Any;

use axum::{
    http::{Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use super::{
    abort::panic_message,
    answer,
    problem::{Kind, PROBLEM_JSON, Problem},
};

/// Turns refusals that a library worded (the router's, an extractor's) into problem documents.
pub(crate) fn as_problem(response: Response) -> Response {
    let status = response.status();
    let is_ours = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == PROBLEM_JSON || kind == "application/json");
    if is_ours || !(status.is_client_error() || status.is_server_error()) {
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

/// Returns the answer to a request that could not be read far enough to reach a route.
pub(crate) fn unread(problem: Problem) -> Response {
    let mut response = problem.into_response();
    answer::add_common_headers(&mut response);
    response
}

/// Returns the answer where a handler panicked.
#[expect(clippy::needless_pass_by_value, reason = "it is caught by value")]
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    tracing::error!(
        panic = panic_message(panic.as_ref()),
        "a request's handler panicked"
    );
    Problem::new(
        Kind::InternalError,
        "the service failed to answer; its log says why",
    )
    .into_response()
}

/// Refuses a path that no call has.
pub(crate) async fn not_found() -> Problem {
    Problem::new(Kind::NotFound, "there is no call at this path")
}

/// Refuses a method that the path does not take. The router adds `Allow`.
pub(crate) async fn method_not_allowed(method: Method) -> Problem {
    Problem::new(
        Kind::MethodNotAllowed,
        format!("{method} is not allowed here; Allow lists the methods"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, body::Body, extract::Request, middleware::map_response, routing::get};
    use tower::ServiceExt as _;

    async fn answer(path: &str) -> Response {
        let routes = Router::new()
            .route("/plain", get(async || (StatusCode::BAD_REQUEST, "no")))
            .route("/teapot", get(async || StatusCode::IM_A_TEAPOT))
            .route("/fine", get(async || "text"))
            .layer(map_response(async |response| as_problem(response)));
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        routes.oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn refusals_that_others_worded_become_problems() {
        for (path, status) in [("/plain", 400), ("/teapot", 400)] {
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
}
