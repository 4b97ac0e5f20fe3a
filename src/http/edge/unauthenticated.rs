//! The refusals of requests whose credential is missing, does not stand, or does not have what its policy needs.

use axum::http::{HeaderValue, header};

use super::problem::{Kind, Problem};
use crate::access::{Refusal, Unbound};

/// Returns the problem of a credential that does not stand.
pub(crate) fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Unknown => not_valid(),
        Refusal::Expired | Refusal::Revoked | Refusal::Changed => invalid_token(refusal),
        Refusal::Undecided => Problem::new(Kind::NotReady, refusal.to_string()),
    }
}

/// Returns the problem of a credential of which no more may be told.
pub(super) fn not_valid() -> Problem {
    invalid_token("the credential is not valid")
}

/// Returns the problem of a credential that does not stand for this reason.
pub(super) fn invalid_token(detail: impl std::fmt::Display) -> Problem {
    let challenge = r#"Bearer realm="tidegate", error="invalid_token""#;
    Problem::new(Kind::Unauthenticated, detail).with_header(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static(challenge),
    )
}

/// Returns the problem of a request without a credential where one is needed.
pub(super) fn missing() -> Problem {
    let challenge = HeaderValue::from_static(r#"Bearer realm="tidegate""#);
    let detail = "a key or token is needed, as Authorization: Bearer …";
    Problem::new(Kind::Unauthenticated, detail).with_header(header::WWW_AUTHENTICATE, challenge)
}

/// Returns the refusal of a caller whose policy cannot be applied: nothing is in its sight.
pub(crate) fn unsatisfied(unbound: &Unbound) -> Problem {
    let problem = Problem::new(Kind::PolicyUnsatisfied, unbound.to_string());
    match unbound.claim() {
        Some(claim) => problem.with("claim", claim.into()),
        None => problem,
    }
}
