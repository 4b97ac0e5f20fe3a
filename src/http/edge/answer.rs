//! Answers that are not refusals, and the headers and the share of the budget that every answer gets.

use axum::{
    body::{Body, HttpBody as _, to_bytes},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bson::{Bson, DateTime, RawBsonRef, RawDocument};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    budget::{Budget, Share},
    failure::internal,
    problem::Problem,
};
use crate::extjson::{millis_text, time_text};

/// Returns a page of a list, `{items, nextCursor}`. Only one item at a time is a tree.
pub(crate) fn page(items: impl Iterator<Item = Value>, next: Option<String>) -> Response {
    let mut text = String::from(r#"{"items":["#);
    for (index, item) in items.enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&item.to_string());
    }
    text.push_str(r#"],"nextCursor":"#);
    text.push_str(&Value::from(next).to_string());
    text.push('}');
    json(StatusCode::OK, text)
}

/// Returns a JSON document.
pub(crate) fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// Returns a JSON document that already has its share of the budget. The share is given back when the last byte is
/// sent.
pub(crate) fn json_with_share(status: StatusCode, text: String, share: Share) -> Response {
    let mut response = json(status, SharedBytes::body(text.into_bytes().into(), share));
    response.extensions_mut().insert(HasShare);
    response
}

/// Marks an answer that has its share of the budget.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HasShare;

/// The bytes of an answer with their share.
struct SharedBytes {
    bytes: Bytes,
    _share: Share,
}

impl SharedBytes {
    fn body(bytes: Bytes, share: Share) -> Body {
        Body::from(Bytes::from_owner(Self {
            bytes,
            _share: share,
        }))
    }
}

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Gives a complete answer to a tenant, if it is one, its share of the budget until it is sent, or refuses it if there is no
/// room. Only an answer to a request that changed nothing may be refused. Streamed answers have bounds of their own.
pub(crate) async fn take_share(
    budget: &Budget,
    tenant: Option<&str>,
    response: Response,
) -> Response {
    let Some(bytes) = bytes_without_share(&response) else {
        return response;
    };
    let mut share = budget.share(tenant);
    match share.grow(bytes) {
        Ok(()) => with_share(response, share).await,
        Err(problem) => problem.into_response(),
    }
}

/// Gives the answer to a write its share, even if the budget is used up: others then wait for it. The body of the
/// request bounds its size.
pub(crate) async fn take_share_anyway(
    budget: &Budget,
    tenant: Option<&str>,
    response: Response,
) -> Response {
    let Some(bytes) = bytes_without_share(&response) else {
        return response;
    };
    let mut share = budget.share(tenant);
    share.grow_anyway(bytes);
    with_share(response, share).await
}

/// Returns the size of an answer that needs a share and has none.
fn bytes_without_share(response: &Response) -> Option<usize> {
    const SMALL_BYTES: usize = 4 << 10;
    let bytes = response.body().size_hint().exact()?;
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let has_share = response.extensions().get::<HasShare>().is_some();
    (bytes > SMALL_BYTES && !has_share).then_some(bytes)
}

async fn with_share(response: Response, share: Share) -> Response {
    let (mut parts, body) = response.into_parts();
    parts.extensions.insert(HasShare);
    match to_bytes(body, usize::MAX).await {
        Ok(bytes) => Response::from_parts(parts, SharedBytes::body(bytes, share)),
        Err(error) => internal(&error).into_response(),
    }
}

/// Adds the headers that every answer carries. No client may guess an answer's type, and none may keep the data: it
/// belongs to somebody. An answer with an entity tag may be kept by the client that asked, and revalidated.
pub(crate) fn add_common_headers(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    let caching = if headers.contains_key(header::ETAG) {
        "private, no-cache"
    } else {
        "no-store"
    };
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static(caching));
}

/// Returns the answer with the headers that every answer carries.
pub(crate) async fn with_common_headers(mut response: Response) -> Response {
    add_common_headers(&mut response);
    response
}

/// Adds a header with a computed value.
pub(crate) fn add_header(
    response: &mut Response,
    name: HeaderName,
    value: &str,
) -> Result<(), Problem> {
    let value = HeaderValue::from_str(value).map_err(|error| internal(&error))?;
    response.headers_mut().insert(name, value);
    Ok(())
}

/// Formats a time as in every answer: RFC 3339, in UTC.
pub(crate) fn time(time: DateTime) -> String {
    millis_text(time)
}

/// Formats a time that a program stored; `None` if it lies outside the years that RFC 3339 has.
pub(crate) fn stored_time(time: DateTime) -> Option<String> {
    time_text(time).map(|_| self::time(time))
}

/// Shows a field of a stored document; null if it is absent.
pub(crate) fn stored_value(document: &RawDocument, name: &str) -> Value {
    match document.get(name) {
        Ok(Some(RawBsonRef::DateTime(date))) => json!(stored_time(date)),
        Ok(Some(value)) => {
            let value = Bson::try_from(value).unwrap_or(Bson::Null);
            value.into_relaxed_extjson()
        }
        _ => Value::Null,
    }
}

/// Returns the answer to a client that already has the current state.
pub(crate) fn not_modified(etag: &str) -> Result<Response, Problem> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    add_header(&mut response, header::ETAG, etag)?;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            add_common_headers(&mut response);
            assert_eq!(response.headers()[header::CACHE_CONTROL], expected);
            assert_eq!(
                response.headers()[header::X_CONTENT_TYPE_OPTIONS],
                "nosniff"
            );
        }
    }
}
