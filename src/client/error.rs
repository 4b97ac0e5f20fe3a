//! Why a request failed, and whether to try it again.

use std::time::Duration;

use super::problem::Problem;

/// The failure of a request.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No request can be sent at all, for want of what TLS needs.
    #[error("no HTTP client: {0}")]
    NoClient(String),
    /// The connection could not be opened, or broke.
    #[error("cannot reach {server}: {reason}")]
    Unreachable {
        /// The service's address.
        server: String,
        /// The innermost cause.
        reason: String,
    },
    /// The service refused the request.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The answer is none that this service gives.
    #[error("{server} gave an answer that cannot be read: {reason}")]
    Unreadable {
        /// The service's address.
        server: String,
        /// The fault in the answer.
        reason: String,
    },
}

impl ClientError {
    /// Whether the same request may succeed later.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(problem) => matches!(problem.status, 408 | 429 | 500 | 502 | 503 | 504),
            Self::NoClient(_) | Self::Unreadable { .. } => false,
        }
    }

    /// Returns the time that the service asked to wait, if it did.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(problem) => problem.retry_after,
            _ => None,
        }
    }

    /// Describes the failure on one line.
    pub(crate) fn one_line(&self) -> String {
        match self {
            Self::Refused(problem) => problem.one_line(),
            error => error.to_string(),
        }
    }
}
