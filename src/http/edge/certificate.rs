//! Certificates of clients: the keys that are for them.

use axum::http::request::Parts;

use super::{
    awaited_key::wait_for_key_for,
    origin,
    problem::{Kind, Problem},
    state::AppState,
    unauthenticated::refused,
};
use crate::access::{Caller, ClientCertificate, Refusal};

/// Returns the caller that a client's certificate proves; `None` if it is no key's, which proves nothing. Else the outcome, as
/// metrics name it, and the refusal.
pub(super) async fn prove(
    state: &AppState,
    head: &Parts,
    certificate: &ClientCertificate,
) -> Result<Option<Caller>, (&'static str, Problem)> {
    if !state.router().progress().loaded {
        let detail = "this node has not loaded its keys yet";
        return Err(("undecided", Problem::new(Kind::NotReady, detail)));
    }
    let credentials = state.router().credentials();
    if !credentials.has_key_for(certificate) {
        let found = wait_for_key_for(state, certificate).await;
        if !found.map_err(|problem| ("undecided", problem))? {
            return Ok(None);
        }
    }
    // A browser shows its certificate whoever's page asks, as it does with a cookie.
    origin::check_certificate(&head.extensions).map_err(|problem| ("elsewhere", problem))?;
    match credentials.authenticate_certificate(certificate) {
        Ok(caller) => Ok(Some(caller)),
        Err(Refusal::Unknown) => Ok(None),
        Err(refusal) => Err((refusal.outcome(), refused(refusal))),
    }
}
