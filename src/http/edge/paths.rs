//! The paths that are used outside the route table, too.

/// The base path of every call but the metrics.
pub(crate) const BASE: &str = "/api/v1";

/// The path of streams, as a route below the base.
pub(crate) const STREAM: &str = "/subscriptions/{id}/events";

/// Returns the full path of a call below the base.
pub(crate) fn below(path: &str) -> String {
    format!("{BASE}{path}")
}

/// Whether a request asks only for the state of the node. Such a request is answered even where all others are refused.
pub(crate) fn is_probe(path: &str) -> bool {
    path.strip_prefix(BASE)
        .is_some_and(|path| matches!(path, "/live" | "/ready"))
}
