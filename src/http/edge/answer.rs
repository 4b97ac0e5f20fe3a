//! Answers that are not refusals.

use axum::{
    body::{Body, HttpBody as _, to_bytes},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bson::{DateTime, Timestamp};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    budget::{Budget, Share},
    failure::internal,
    paths::BASE,
    problem::Problem,
    state::AppState,
};
use crate::subscription::CompiledSubscription;

/// `false` where the answering node has not applied the write yet.
pub(crate) const APPLIED: HeaderName = HeaderName::from_static("tidegate-applied");

/// RFC 3986's unreserved characters stand for themselves in a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A JSON document.
pub(crate) fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// A JSON document that has its share of what all answers may take already; the share is given back when
/// the last byte is sent.
pub(crate) fn held(status: StatusCode, text: String, share: Share) -> Response {
    let mut response = json(status, Held::body(text.into_bytes().into(), share));
    response.extensions_mut().insert(Counted);
    response
}

/// Says that an answer has its share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted;

/// Bytes of an answer with their share.
struct Held {
    bytes: Bytes,
    _share: Share,
}

impl Held {
    fn body(bytes: Bytes, share: Share) -> Body {
        Body::from(Bytes::from_owner(Self {
            bytes,
            _share: share,
        }))
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Gives an answer that is whole its share of what all answers may take, until it is sent; what is written
/// bit by bit has bounds of its own. Where there is no room it is refused: only what has changed nothing may
/// be answered so.
pub(crate) async fn counted(budget: &Budget, response: Response) -> Response {
    let Some(bytes) = uncounted(&response) else {
        return response;
    };
    let mut share = budget.share();
    match share.grow(bytes) {
        Ok(()) => with_share(response, share).await,
        Err(problem) => problem.into_response(),
    }
}

/// The same for the answer to a write: what was done is told, whatever the others hold. It is counted,
/// so that others wait for it; its size is bounded by the body that was read.
pub(crate) async fn counted_always(budget: &Budget, response: Response) -> Response {
    let Some(bytes) = uncounted(&response) else {
        return response;
    };
    let mut share = budget.share();
    share.grow_anyway(bytes);
    with_share(response, share).await
}

/// The bytes of an answer that needs a share and has none.
fn uncounted(response: &Response) -> Option<usize> {
    const SMALL_BYTES: usize = 4 << 10;
    let bytes = response.body().size_hint().exact()?;
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let has_share = response.extensions().get::<Counted>().is_some();
    (bytes > SMALL_BYTES && !has_share).then_some(bytes)
}

async fn with_share(response: Response, share: Share) -> Response {
    let (mut parts, body) = response.into_parts();
    parts.extensions.insert(Counted);
    match to_bytes(body, usize::MAX).await {
        Ok(bytes) => Response::from_parts(parts, Held::body(bytes, share)),
        Err(error) => internal(&error).into_response(),
    }
}

/// A time as it is written everywhere: RFC 3339, in UTC.
pub(crate) fn time(time: DateTime) -> String {
    humantime::format_rfc3339_millis(time.to_system_time()).to_string()
}

/// An answer without content, with the entity tag of what it is about.
pub(crate) fn not_modified(etag: &str) -> Result<Response, Problem> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    put(&mut response, header::ETAG, etag)?;
    Ok(response)
}

/// A subscription with its entity tag, and where it was created its address.
pub(crate) fn subscription(
    status: StatusCode,
    compiled: &CompiledSubscription,
    warnings: &[String],
) -> Result<Response, Problem> {
    let mut response = json(status, subscription_json(compiled, warnings));
    put(&mut response, header::ETAG, &compiled.subscription.etag())?;
    if let (StatusCode::CREATED, Some(id)) = (status, compiled.subscription.id()) {
        let id = utf8_percent_encode(&id, SEGMENT);
        let location = format!("{BASE}/subscriptions/{id}");
        put(&mut response, header::LOCATION, &location)?;
    }
    Ok(response)
}

/// A subscription on the wire, and what a writer should know about it.
pub(crate) fn subscription_json(compiled: &CompiledSubscription, warnings: &[String]) -> String {
    compiled.subscription.to_json_with(warnings)
}

/// Holds the answer to a write back until this node has applied it, or says that it has not.
pub(crate) async fn applied(state: &AppState, time: Timestamp, mut response: Response) -> Response {
    let patience = state.limits().applied_timeout;
    if !state.router().applied(time, patience).await {
        tracing::warn!("a write was answered before this node had applied it");
        let headers = response.headers_mut();
        headers.insert(APPLIED, HeaderValue::from_static("false"));
    }
    response
}

/// Holds the answer to a write of a subscription back until this node has applied it, and has written
/// where a durable subscription begins: from then on nothing is lost, whoever dies.
pub(crate) async fn settled(state: &AppState, time: Timestamp, response: Response) -> Response {
    let mut response = applied(state, time, response).await;
    let patience = state.limits().applied_timeout;
    if !state.positions().structure_written(patience).await {
        tracing::warn!("a write was answered before its position was stored");
        let headers = response.headers_mut();
        headers.insert(APPLIED, HeaderValue::from_static("false"));
    }
    response
}

fn put(response: &mut Response, name: HeaderName, value: &str) -> Result<(), Problem> {
    let value = HeaderValue::from_str(value).map_err(|error| internal(&error))?;
    response.headers_mut().insert(name, value);
    Ok(())
}
