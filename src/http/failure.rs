//! What the store's failures are to a client. Nothing of the inside is told; it is logged here, once.

use super::problem::{Kind, Problem};
use crate::store::StoreError;

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_away() {
            tracing::warn!(%error, "a request found the database away");
            return Self::new(
                Kind::DatabaseUnavailable,
                "the database cannot be reached now; try again",
            );
        }
        match error {
            StoreError::Refused { detail } => Self::new(Kind::RefusedByDatabase, detail),
            StoreError::Duplicate => {
                Self::new(Kind::Conflict, "another request has just created it")
            }
            StoreError::NotPermitted { .. } => {
                tracing::error!(%error, "the database forbids what a request needs");
                Self::new(
                    Kind::DatabaseForbids,
                    "the database user of this service lacks a right; an operator has to grant it",
                )
            }
            error => internal(&error),
        }
    }
}

/// A fault of ours: logged in full, told as such.
pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error, "a request failed");
    Problem::new(
        Kind::InternalError,
        "the service failed to answer; its log says why",
    )
}

impl From<bson::error::Error> for Problem {
    fn from(error: bson::error::Error) -> Self {
        internal(&error)
    }
}
