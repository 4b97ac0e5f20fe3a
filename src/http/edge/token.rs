//! Tokens that requests present: verified on the connection's task, then asked of the revocations.

use super::{
    problem::{Kind, Problem},
    state::AppState,
    unauthenticated::{invalid_token, not_valid, refused},
};
use crate::{
    access::{Caller, Proven, TokenFault},
    identity::Unverified,
};

/// A refusal: the outcome, as metrics name it, and the problem.
pub(crate) type Refused = (&'static str, Problem);

/// Verifies a token, and judges its caller by the revocations.
pub(crate) async fn prove(state: &AppState, text: &str) -> Result<Proven, Refused> {
    if !state.router().progress().loaded {
        let detail = "this node has not loaded its revocations yet";
        return Err(("undecided", Problem::new(Kind::NotReady, detail)));
    }
    let proven = state.issuers.verify(text).await.map_err(unverified)?;
    let caller: &Caller = match &proven {
        Proven::Caller(caller) | Proven::Tenantless { caller, .. } => caller,
    };
    let judged = state.router().credentials().judge(caller);
    judged.map_err(|refusal| (refusal.outcome(), refused(refusal)))?;
    Ok(proven)
}

/// Returns the refusal of a token that is not verified. The fault of one that may be anybody's text is for the log alone.
pub(super) fn unverified(reason: Unverified) -> Refused {
    match reason {
        Unverified::Refused(fault) => {
            tracing::debug!(check = %fault.check(), %fault, "a token is refused");
            (fault.outcome(), told(&fault))
        }
        Unverified::NoKeys => ("undecided", Problem::new(Kind::NotReady, reason)),
        Unverified::Busy => ("undecided", Problem::new(Kind::Overloaded, reason)),
    }
}

fn told(fault: &TokenFault) -> Problem {
    if fault.is_told() {
        invalid_token(fault)
    } else {
        not_valid()
    }
}
