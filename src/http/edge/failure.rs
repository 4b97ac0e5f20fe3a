//! What the store's failures are to a client. Nothing of the inside is told; it is logged here, once.

use super::problem::{Kind, Problem};
use crate::{router::Busy, store::StoreError};

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_unavailable() {
            return away(&error);
        }
        match error {
            StoreError::Refused { detail } => Self::new(Kind::RefusedByDatabase, detail),
            StoreError::TooSlow { .. } => {
                tracing::debug!(%error, "a search was given up");
                Self::new(
                    Kind::SearchTooSlow,
                    format!(
                        "{error}; ask for a type or a source, for fewer events, or from a cursor on"
                    ),
                )
            }
            StoreError::Duplicate => {
                Self::new(Kind::Conflict, "another request has just created it")
            }
            StoreError::NotPermitted { .. } => {
                // Told as an error once, and not for each request, by whoever watches over the database.
                tracing::debug!(%error, "the database forbids what a request needs");
                Self::new(
                    Kind::DatabaseForbids,
                    "the database user of this service lacks a right; an operator has to grant it",
                )
            }
            error => internal(&error),
        }
    }
}

/// The database is away or does not answer in time. A request may have several steps, and what was sent
/// may have been done: so all are told how a write is repeated.
fn away(error: &StoreError) -> Problem {
    let what = match error {
        StoreError::KnownUnavailable { .. } => {
            tracing::debug!(%error, "a request was refused");
            error.to_string()
        }
        StoreError::TimedOut { .. } => {
            tracing::warn!(%error, "a request found the database slow or away");
            error.to_string()
        }
        _ => {
            tracing::warn!(%error, "a request found the database away");
            "the database cannot be reached now".to_owned()
        }
    };
    Problem::new(
        Kind::DatabaseUnavailable,
        format!(
            "{what}; try again. A write may have happened: repeating it with the same \
             Idempotency-Key, or under the same id, does it once"
        ),
    )
}

/// A fault of ours: logged in full, told as such.
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
