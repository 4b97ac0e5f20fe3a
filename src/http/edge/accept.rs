//! Which media types a client wants (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, header};

use crate::event::media::Media;

/// Whether a client names this type among those that it takes. A range such as `*/*` does not.
pub(crate) fn names(headers: &HeaderMap, essence: &str) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(Media::list)
        .any(|range| range.essence() == essence && range.is_wanted())
}
