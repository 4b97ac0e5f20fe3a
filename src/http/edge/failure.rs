//! The problems that failures of the store and the router become. A client learns nothing about the inside. Failures are
//! logged here, once.

use super::problem::{Kind, Problem};
use crate::{router::Busy, store::StoreError};

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_unavailable() {
            return unavailable(&error);
        }
        match error {
            StoreError::Refused { detail } => Self::new(Kind::RefusedByDatabase, detail),
            StoreError::TooSlow { .. } => {
                tracing::debug!(%error, "a search took too long");
                Self::new(
                    Kind::SearchTooSlow,
                    format!(
                        "{error}; ask for a type or a source, ask for fewer events, or continue from a cursor"
                    ),
                )
            }
            StoreError::Duplicate => {
                Self::new(Kind::Conflict, "another request has just created it")
            }
            StoreError::NotPermitted { .. } => {
                // The database's watchdog logs this as an error once, rather than for each request.
                tracing::debug!(%error, "the service lacks a right that a request needs");
                Self::new(
                    Kind::DatabaseForbids,
                    "this service's database user lacks a right; an operator must grant it",
                )
            }
            error => internal(&error),
        }
    }
}

/// Returns the problem where the database is unreachable or does not answer in time. A request may have several steps,
/// and a write may have been done. So every client learns how to repeat one.
fn unavailable(error: &StoreError) -> Problem {
    let what = match error {
        StoreError::KnownUnavailable { .. } => {
            tracing::debug!(%error, "a request was refused: the database is unavailable");
            error.to_string()
        }
        StoreError::TimedOut { .. } => {
            tracing::warn!(%error, "a request found the database slow or unavailable");
            error.to_string()
        }
        _ => {
            tracing::warn!(%error, "a request found the database unavailable");
            "the database cannot be reached now".to_owned()
        }
    };
    Problem::new(
        Kind::DatabaseUnavailable,
        format!(
            "{what}; try again. A write may have happened: repeat it with the same Idempotency-Key, or under the same \
             id, and it is done once"
        ),
    )
}

/// Returns the problem for a fault of ours. The log has the whole error.
pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error, "a request failed");
    Problem::new(
        Kind::InternalError,
        "the service failed to answer; its log says why",
    )
}

impl From<Busy> for Problem {
    fn from(busy: Busy) -> Self {
        Self::new(Kind::Overloaded, busy.to_string())
    }
}

impl From<bson::error::Error> for Problem {
    fn from(error: bson::error::Error) -> Self {
        internal(&error)
    }
}
