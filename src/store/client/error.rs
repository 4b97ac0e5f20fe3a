//! The errors of the store, as far as callers tell them apart.

use std::time::Duration;

use mongodb::error::{CommandError, Error, ErrorKind};

pub(in crate::store) use super::driver_error::message;
pub(crate) use super::driver_error::{brief, code};
use super::{
    refusal::{bulk_refusal, refusal, refused_silently},
    startup::StartupError,
};

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The `_id` is taken.
    #[error("a document with this _id exists already")]
    Duplicate,
    /// The database understood the request and refuses it. `detail` says why, for the caller, and has no
    /// words of the database.
    #[error("refused by the database: {detail}")]
    Refused {
        /// The fault in the document or the query.
        detail: String,
    },
    /// No server can take the request now: network, election, no majority in time, shutdown. A server
    /// that stopped working on a request because its time was up (error 50) counts too.
    #[error("the database cannot be reached: {}", brief(.0))]
    Unavailable(Box<Error>),
    /// The database has been unavailable for a while, and was not asked.
    #[error("the database has been unavailable for {}", whole_seconds(*.waited))]
    KnownUnavailable {
        /// Time for which it has been so.
        waited: Duration,
    },
    /// The answer did not come in time. A write may or may not have happened.
    #[error("the database did not answer within {}", milliseconds(*.waited))]
    TimedOut {
        /// Time that the caller waited.
        waited: Duration,
    },
    /// The server searched until its time was up, and found nothing.
    #[error("the database found nothing within {}", milliseconds(*.waited))]
    TooSlow {
        /// Time that it had.
        waited: Duration,
    },
    /// The credentials are wrong (18), or lack a right (13).
    #[error(
        "the database does not permit this: {detail}. Grant its user readWrite and dbAdmin on the database"
    )]
    NotPermitted {
        /// The server's words: the command and the collection.
        detail: String,
        /// The server's code, if it gave one.
        code: Option<i32>,
    },
    /// The service cannot start on this database.
    #[error(transparent)]
    Startup(#[from] Box<StartupError>),
    /// An answer that the store does not expect of a server.
    #[error("unexpected answer from the database: {0}")]
    Unexpected(&'static str),
    /// Anything else that the driver reports.
    #[error("the database failed: {}", brief(.0))]
    Other(Box<Error>),
}

impl StoreError {
    /// Whether trying again later may help, because the database is unavailable or too slow.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::KnownUnavailable { .. } | Self::TimedOut { .. } => true,
            Self::Startup(error) => error.is_unavailable(),
            _ => false,
        }
    }

    /// Whether a read at a point in time failed because that point is no longer readable (239), not
    /// readable (246), or not readable yet (72).
    pub(in crate::store) fn is_snapshot_lost(&self) -> bool {
        matches!(self, Self::Unavailable(error) | Self::Other(error)
            if matches!(code(error), Some(72 | 239 | 246)))
    }

    /// Whether the server stopped because its time was up.
    pub(in crate::store) fn is_time_limit(&self) -> bool {
        const MAX_TIME_EXPIRED: i32 = 50;
        matches!(self, Self::Unavailable(error) if code(error) == Some(MAX_TIME_EXPIRED))
    }

    /// Whether the request seems to take longer than it may.
    pub(in crate::store) fn is_slowness(&self) -> bool {
        self.is_time_limit() || matches!(self, Self::TimedOut { .. })
    }

    /// Turns the error of a query into a refusal, unless the network or a missing right explains it.
    pub(in crate::store) fn of_query(self) -> Self {
        match self {
            Self::Other(error) => match error.kind.as_ref() {
                ErrorKind::Command(CommandError { .. }) => Self::Refused {
                    detail: refused_silently(&error),
                },
                _ => Self::Other(error),
            },
            other => other,
        }
    }
}

impl From<StartupError> for StoreError {
    fn from(error: StartupError) -> Self {
        Self::Startup(Box::new(error))
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        if is_unavailable(&error) {
            return Self::Unavailable(Box::new(error));
        }
        match (code(&error), error.kind.as_ref()) {
            (Some(11000 | 11001), _) => Self::Duplicate,
            (Some(13 | 18), _) | (None, ErrorKind::Authentication { .. }) => Self::NotPermitted {
                detail: message(&error),
                code: code(&error),
            },
            (Some(code), _) if is_refusal(code) => Self::Refused {
                detail: refusal(&error),
            },
            (None, ErrorKind::InvalidArgument { message, .. }) => Self::Refused {
                detail: message.clone(),
            },
            (None, ErrorKind::Bson(error)) => Self::Refused {
                detail: error.to_string(),
            },
            _ => Self::Other(Box::new(error)),
        }
    }
}

fn whole_seconds(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(time.as_secs()))
}

fn milliseconds(time: Duration) -> humantime::FormattedDuration {
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_millis(milliseconds))
}

/// Whether no server can take a request now.
pub(in crate::store) fn is_unavailable(error: &Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::Shutdown => true,
        _ => code(error).is_some_and(is_unavailable_code),
    }
}

/// Whether a server says by this code that it, or a majority, cannot answer now.
fn is_unavailable_code(code: i32) -> bool {
    matches!(
        code,
        6 | 7 | 89 | 9001 // unreachable, not found, network timeout, socket
        | 91 | 11_600 | 11_601 | 11_602 // shutting down, interrupted
        | 189 | 10_058 | 10_107 | 13_435 | 13_436 // not primary, recovering
        | 50 | 202 | 262 // took too long
        | 64 | 79 | 100 | 133 | 134 // no majority, none that satisfies the concern
        | 215 // the database is being dropped
        | 43 | 237 // the cursor is gone: with its server, or by a time limit
        | 239 | 246 // no such snapshot (any more)
    )
}

/// Whether a server says by this code that the document or the query is not acceptable.
fn is_refusal(code: i32) -> bool {
    matches!(
        code,
        2 | 9 | 14 | 15 // bad value, parse, type, too deep
        | 22 | 28 | 40 | 52
            ..=57 | 66 // invalid BSON, paths, field names, _id
        | 121 | 10_334 | 17_280 | 17_419 | 17_420 // validator, too large
        | 31_249 | 51_091 | 51_108 // regular expressions
    )
}

/// Returns the error of an item of an unordered insert that was not stored.
pub(in crate::store) fn item_error(error: &mongodb::error::IndexedWriteError) -> StoreError {
    if error.code == 11_000 {
        return StoreError::Duplicate;
    }
    unavailable_item(error).unwrap_or_else(|| StoreError::Refused {
        detail: bulk_refusal(error),
    })
}

/// Returns the error of an item that could not be stored now, and may be later.
pub(in crate::store) fn unavailable_item(
    error: &mongodb::error::IndexedWriteError,
) -> Option<StoreError> {
    let unavailable = || StoreError::Unavailable(Box::new(Error::custom(error.message.clone())));
    is_unavailable_code(error.code).then(unavailable)
}
