//! What every answer goes through: its share of the bytes under way, and the headers that say how it is to
//! be taken.

use axum::{
    extract::{Request, State},
    http::{HeaderValue, header},
    middleware::Next,
    response::Response,
};

use super::{answer, budget::Budget};

/// Gives the answer its share of what all answers may take. A write is done by then: its answer is never
/// refused, or its client would do it again.
pub(crate) async fn counted(
    State(budget): State<Budget>,
    request: Request,
    next: Next,
) -> Response {
    let changes_nothing = request.method().is_safe();
    let response = next.run(request).await;
    if changes_nothing {
        answer::counted(&budget, response).await
    } else {
        answer::counted_always(&budget, response).await
    }
}

/// Completes the answer's headers.
pub(crate) async fn described(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    describe(&mut response);
    response
}

/// No one is to guess what an answer is, nor to keep it: data are somebody's. What has an entity tag may be
/// kept by whoever asked for it, and asked for again with it.
fn describe(response: &mut Response) {
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
