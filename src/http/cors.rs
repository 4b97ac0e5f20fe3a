//! Cross-origin requests: browsers of the configured origins, and no others.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::{answer::APPLIED, observe::REQUEST_ID};
use crate::config::Cors;

/// Headers of answers that a script may read.
const EXPOSED: [HeaderName; 8] = [
    header::ETAG,
    header::LOCATION,
    header::ALLOW,
    header::RETRY_AFTER,
    HeaderName::from_static("accept-patch"),
    HeaderName::from_static("accept-post"),
    APPLIED,
    REQUEST_ID,
];
const PREFLIGHT_GOOD_FOR: Duration = Duration::from_mins(10);

/// The layer for these settings; none where no origin may call.
pub(crate) fn layer(cors: &Cors) -> Option<CorsLayer> {
    let origins = match cors.origins.as_slice() {
        [] => return None,
        origins if origins.iter().any(|origin| origin == "*") => AllowOrigin::any(),
        origins => AllowOrigin::list(origins.iter().filter_map(|origin| read(origin))),
    };
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED)
        .max_age(PREFLIGHT_GOOD_FOR);
    Some(layer)
}

fn read(origin: &str) -> Option<HeaderValue> {
    let value = HeaderValue::from_str(origin.trim_end_matches('/'));
    if value.is_err() {
        tracing::warn!(
            origin,
            "an origin in cors.origins cannot be sent and is ignored"
        );
    }
    value.ok()
}
