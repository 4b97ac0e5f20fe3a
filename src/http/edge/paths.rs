//! The paths that are used outside the route table, too.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The characters that are escaped in a segment of a path: all but RFC 3986's unreserved ones.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The base path of every call but the metrics.
pub(crate) const BASE: &str = "/api/v1";

/// The path of streams, as a route below the base.
pub(crate) const STREAM: &str = "/subscriptions/{id}/events";

/// The path of the socket for many subscriptions.
pub(crate) const SOCKET: &str = "/socket";

/// The path of server-sent events for many subscriptions.
pub(crate) const STREAM_OF_MANY: &str = "/stream";

/// Returns the full path of a call below the base.
pub(crate) fn below(path: &str) -> String {
    format!("{BASE}{path}")
}

/// Returns a text as one segment of a path.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Whether a request asks only for the state of the node. Such a request is answered even where all others are refused.
pub(crate) fn is_probe(path: &str) -> bool {
    path.strip_prefix(BASE)
        .is_some_and(|path| matches!(path, "/live" | "/ready"))
}
