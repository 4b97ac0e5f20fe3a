//! The exit code for the end of a listener.

use crate::{
    cli::failure::Failure,
    client::{ClientError, ListenError},
    protocol::Ending,
};

/// Turns the end of a listener into the command's failure. If the frame `ended` was printed with the same reason, only
/// the exit code is left.
pub(super) fn failure(error: ListenError) -> Failure {
    match error {
        ListenError::Closed {
            code,
            reason,
            announced,
        } => {
            let failure = closed(code, reason);
            if announced {
                let code = failure.exit_code();
                return Failure::AlreadyPrinted { code };
            }
            failure
        }
        ListenError::NotOpened(error) => not_opened(error),
    }
}

fn closed(code: u16, reason: String) -> Failure {
    match Ending::from_code(code) {
        Some(Ending::Deleted | Ending::Expired) => Failure::Gone(reason),
        Some(Ending::CredentialExpired | Ending::Forbidden) => Failure::NotAllowed(reason),
        _ => Failure::Failed(reason),
    }
}

fn not_opened(error: ClientError) -> Failure {
    match error {
        ClientError::Refused(problem) if problem.status == 404 => {
            Failure::Gone(problem.to_string())
        }
        ClientError::Refused(problem) if matches!(problem.status, 401 | 403) => {
            Failure::NotAllowed(problem.to_string())
        }
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_close_has_an_exit_code_of_its_kind() {
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
            for announced in [false, true] {
                let failure = failure(ListenError::Closed {
                    code,
                    reason: "closed".to_owned(),
                    announced,
                });
                assert_eq!(failure.exit_code(), exit_code, "{code}");
                assert_eq!(failure.is_already_printed(), announced);
            }
        }
    }
}
