//! Cross-origin requests: pages of the configured origins may call, and no others.

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderName, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::{observe::REQUEST_ID, origin::Origins, read_your_writes::APPLIED};

/// The headers of answers that a script may read.
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
const PREFLIGHT_MAX_AGE: Duration = Duration::from_mins(10);

/// Returns the layer for these origins; `None` if no other origin may call. With `credentials`, a page may have its browser
/// send what proves who the user is, and read the answer, unless pages of every origin may call.
pub(crate) fn layer(origins: &Arc<Origins>, credentials: bool) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let allowed = if origins.any() {
        AllowOrigin::any()
    } else {
        let origins = Arc::clone(origins);
        AllowOrigin::predicate(move |origin, _| origins.lists(origin))
    };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        .allow_credentials(credentials && !origins.any())
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED)
        .max_age(PREFLIGHT_MAX_AGE);
    Some(layer)
}
