//! The media types that a client accepts (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, header};

use crate::event::media::Media;

/// Whether a client accepts this type by name. A range like `*/*` does not name it.
pub(crate) fn names(headers: &HeaderMap, essence: &str) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(Media::list)
        .any(|range| range.essence() == essence && range.is_wanted())
}
