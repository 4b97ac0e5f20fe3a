//! From a failure of the stream to its remedy.

use mongodb::error::{Error, ErrorKind};

use crate::store::{CAPPED_POSITION_LOST, code};

/// The remedy for a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Remedy {
    /// Open the stream again from the same place, after a pause. For networks, elections, and whatever else passes.
    Reopen,
    /// Load everything again and announce a gap: the history from the resume point on is gone.
    Reload,
    /// Step over one change, which is too large for a change stream.
    StepOver,
}

/// `ChangeStreamHistoryLost`.
const HISTORY_LOST: i32 = 286;
/// `ChangeStreamFatalError`: the stream cannot be resumed from this token.
const FATAL: i32 = 280;
/// `InvalidResumeToken`: the token is that of an invalidate, or no token.
const INVALID_RESUME_TOKEN: i32 = 260;
/// `BSONObjectTooLarge`: the change and its images together exceed the largest document.
const OBJECT_TOO_LARGE: i32 = 10_334;
/// The server refuses the start of the stream: the token is malformed or made up.
const BAD_TOKENS: [i32; 3] = [50_811, 50_816, 40_647];

/// Returns the remedy for an error of the driver.
pub(super) fn remedy(error: &Error) -> Remedy {
    match code(error) {
        Some(HISTORY_LOST | CAPPED_POSITION_LOST | FATAL | INVALID_RESUME_TOKEN) => Remedy::Reload,
        Some(code) if BAD_TOKENS.contains(&code) => Remedy::Reload,
        Some(OBJECT_TOO_LARGE) => Remedy::StepOver,
        _ if error.contains_label("NonResumableChangeStreamError") => Remedy::Reload,
        _ => Remedy::Reopen,
    }
}

/// Whether the server forbids the stream (13), or refuses this user altogether (18).
pub(super) fn is_forbidden(error: &Error) -> bool {
    matches!(code(error), Some(13 | 18)) || matches!(*error.kind, ErrorKind::Authentication { .. })
}

/// Returns the metric's label for an error. There is a bounded number of them.
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
