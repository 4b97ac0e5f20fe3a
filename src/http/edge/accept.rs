//! The forms of an answer that a client asks for: media types (RFC 9110, section 12.5.1) and upgrades (section 7.8).

use axum::http::{HeaderMap, HeaderName, header};

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

/// Whether a client asks to go on with the WebSocket protocol.
pub(crate) fn upgrades_to_websocket(headers: &HeaderMap) -> bool {
    lists(headers, &header::UPGRADE, "websocket")
}

/// Whether a list has this member. It may be written on several lines.
pub(crate) fn lists(headers: &HeaderMap, name: &HeaderName, member: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|found| found.trim().eq_ignore_ascii_case(member))
}
