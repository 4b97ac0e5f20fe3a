//! How one connection came to its end, and what follows from it.

use std::time::Duration;

use crate::{
    cli::{client::ClientError, failure::Failure, style},
    protocol::Ending,
};

/// Why one connection is over.
pub(super) enum End {
    /// As many events came as were wanted, or a signal did.
    Enough,
    /// It can be tried again, not before the given time.
    Again(String, Option<Duration>),
    /// There is nothing more to come.
    Over(Failure),
}

impl End {
    /// Leaves only the exit code of a final close where the frame `ended` said the same before.
    pub(super) fn once_told(self, ended: &str, code: u16) -> Self {
        match self {
            Self::Over(failure) if Ending::from_code(code).is_some_and(|e| e.token() == ended) => {
                let code = failure.exit_code();
                Self::Over(Failure::Told { code })
            }
            end => end,
        }
    }
}

/// The service closed the socket. Codes from 4000 to 4499 can be tried again, those from 4500 cannot;
/// the others are in the table.
pub(super) fn closed(code: u16, text: &str, retry_after: Option<Duration>) -> End {
    let ending = Ending::from_code(code);
    let (name, retry) = match ending {
        Some(ending) => (ending.token(), ending.retry()),
        None => (text, code < 4500),
    };
    let reason = match name {
        "" => format!("closed with code {code}"),
        name => format!("closed: {} ({code})", style::printable(name)),
    };
    if retry {
        return End::Again(reason, retry_after);
    }
    End::Over(match ending {
        Some(Ending::Deleted | Ending::Expired) => Failure::Gone(reason),
        Some(Ending::CredentialExpired | Ending::Forbidden) => Failure::NotAllowed(reason),
        _ => Failure::Failed(reason),
    })
}

/// The connection did not come about. `before`: there was one already; if not, an address that nobody
/// answers on is likely to be wrong, and better said than tried again.
pub(super) fn not_opened(error: ClientError, before: bool) -> End {
    let nobody_there = matches!(error, ClientError::Unreachable { .. }) && !before;
    match error {
        ClientError::Refused(problem) if problem.status == 404 => {
            End::Over(Failure::Gone(problem.to_string()))
        }
        ClientError::Refused(problem) if matches!(problem.status, 401 | 403) => {
            End::Over(Failure::NotAllowed(problem.to_string()))
        }
        error if nobody_there || !error.is_retryable() => End::Over(error.into()),
        ClientError::Refused(problem) => End::Again(problem.one_line(), problem.retry_after),
        error => End::Again(error.to_string(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exit code that a close leads to; `None` if it is tried again.
    fn check(code: u16, expected: Option<u8>) {
        let exit_code = match closed(code, "", None) {
            End::Over(failure) => Some(failure.exit_code()),
            _ => None,
        };
        assert_eq!(exit_code, expected, "{code}");
    }

    #[test]
    fn a_close_is_final_or_not_by_its_code_and_final_ones_differ() {
        for code in [1001, 1006, 1011, 1013, 4000, 4001, 4002, 4499] {
            check(code, None);
        }
        for (code, exit_code) in [
            (4500, 3),
            (4501, 3),
            (4510, 4),
            (4511, 4),
            (4520, 1),
            (4999, 1),
            (1000, 1),
            (1002, 1),
        ] {
            check(code, Some(exit_code));
        }
        let End::Over(failure) = closed(4500, "deleted", None) else {
            panic!("not over");
        };
        assert_eq!(failure.to_string(), "closed: deleted (4500)");
        for (ended, told) in [("deleted", true), ("", false), ("expired", false)] {
            let End::Over(failure) = closed(4500, "", None).once_told(ended, 4500) else {
                panic!("not over");
            };
            assert_eq!((failure.is_told(), failure.exit_code()), (told, 3));
        }
    }
}
