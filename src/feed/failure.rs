//! What to do when the stream fails.

use mongodb::error::{Error, ErrorKind};

use crate::store::{CAPPED_POSITION_LOST, code};

/// The way on after a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Remedy {
    /// Open again from the same place, after a pause: network, election, anything that passes.
    Reopen,
    /// The history from our resume point on is gone: load everything again and tell of the gap.
    Reload,
    /// One change is too large for a change stream: go round it.
    StepOver,
}

/// `ChangeStreamHistoryLost`.
const HISTORY_LOST: i32 = 286;
/// `ChangeStreamFatalError`: the token cannot be resumed from.
const FATAL: i32 = 280;
/// `InvalidResumeToken`: of an invalidate, or not a token.
const INVALID_RESUME_TOKEN: i32 = 260;
/// `BSONObjectTooLarge`: images and change together exceed what one document may hold.
const OBJECT_TOO_LARGE: i32 = 10_334;
/// The stream's own start is refused: malformed or made-up tokens.
const BAD_TOKENS: [i32; 3] = [50_811, 50_816, 40_647];

/// Reads an error of the driver.
pub(super) fn remedy(error: &Error) -> Remedy {
    match code(error) {
        Some(HISTORY_LOST | CAPPED_POSITION_LOST | FATAL | INVALID_RESUME_TOKEN) => Remedy::Reload,
        Some(code) if BAD_TOKENS.contains(&code) => Remedy::Reload,
        Some(OBJECT_TOO_LARGE) => Remedy::StepOver,
        _ if error.contains_label("NonResumableChangeStreamError") => Remedy::Reload,
        _ => Remedy::Reopen,
    }
}

/// Whether the server forbids the stream (13), or this user altogether (18).
pub(super) fn is_forbidden(error: &Error) -> bool {
    matches!(code(error), Some(13 | 18)) || matches!(*error.kind, ErrorKind::Authentication { .. })
}

/// A bounded name for the metric.
pub(super) fn cause(error: &Error) -> &'static str {
    match error.kind.as_ref() {
        ErrorKind::Authentication { .. } => "forbidden",
        ErrorKind::Command(_) if is_forbidden(error) => "forbidden",
        ErrorKind::Command(_) => "server_error",
        ErrorKind::Io(_) => "network",
        ErrorKind::ServerSelection { .. } => "no_server",
        _ => "other",
    }
}
