//! What every request and its answer go through, but for what the log and the metrics see: refusals at the
//! door, the answer's share of the bytes under way, and the headers that say how it is to be taken.
//!
//! One layer for all of it: each layer copies those below it for every request.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{answer, budget::Budget, framing, observe, problem::Problem};
use crate::http::{layers::Common, stream::retry::Stream};

/// What that takes.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) common: Common,
    /// What all answers may take, where they share anything.
    pub(crate) answers: Option<Budget>,
}

/// Has a request answered, unless it is refused here. The answer gets its share of what all answers may take. A
/// write is done by then: its answer is never refused, or its client would do it again.
pub(crate) async fn answered(
    State(edge): State<Arc<Edge>>,
    request: Request,
    next: Next,
) -> Response {
    let changes_nothing = request.method().is_safe();
    let stream = Stream::asked_for(&request);
    let headers = request.headers();
    let refused = framing::refuse(headers).or_else(|| observe::refuse(headers));
    let response = match refused {
        Some(problem) => problem.into_response(),
        None => observe::shaped(next.run(request).await),
    };
    let response = match &edge.answers {
        None => response,
        Some(budget) if changes_nothing => answer::counted(budget, response).await,
        Some(budget) => answer::counted_always(budget, response).await,
    };
    let mut response = match stream {
        Some(stream) => stream.answer(&edge.common, response),
        None => response,
    };
    describe(&mut response);
    response
}

/// No one is to guess what an answer is, nor to keep it: data are somebody's. What has an entity tag may be
/// kept by whoever asked for it, and asked for again with it.
pub(crate) fn describe(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    let kept = if headers.contains_key(header::ETAG) {
        "private, no-cache"
    } else {
        "no-store"
    };
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static(kept));
}

/// The answer to a request that could not be read as far as to reach a route.
pub(crate) fn unread(problem: Problem) -> Response {
    let mut response = problem.into_response();
    describe(&mut response);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[test]
    fn an_answer_says_whether_it_may_be_kept() {
        for (name, value, expected) in [
            (header::ALLOW, "GET", "no-store"),
            (header::ETAG, "\"e\"", "private, no-cache"),
            (
                header::CACHE_CONTROL,
                "no-store, no-transform",
                "no-store, no-transform",
            ),
        ] {
            let mut response = Response::new(Body::empty());
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
            describe(&mut response);
            assert_eq!(response.headers()[header::CACHE_CONTROL], expected);
            assert_eq!(
                response.headers()[header::X_CONTENT_TYPE_OPTIONS],
                "nosniff"
            );
        }
    }
}
