//! Handlers that are called only for those who may, and no faster than they may.
//!
//! This is no layer: a layer around each route would copy the route, and box its answer, for every request.

use std::future::{Ready, ready};

use axum::{
    extract::Request,
    handler::Handler,
    response::{IntoResponse as _, Response},
};
use futures_util::future::Either;

use super::{
    caller::{By, Identity},
    needs::Need,
    problem::Problem,
    proof::Proof,
    quotas::{self, Counts},
    state::AppState,
};

/// A handler behind the need of its call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guarded<H> {
    pub(crate) need: Need,
    pub(crate) counts: Counts,
    pub(crate) handler: H,
}

impl<H: Handler<T, AppState>, T> Handler<T, AppState> for Guarded<H> {
    type Future = Either<H::Future, Ready<Response>>;

    fn call(self, mut request: Request, state: AppState) -> Self::Future {
        match admit(self.need, self.counts, &state, &mut request) {
            Ok(()) => Either::Left(self.handler.call(request, state)),
            Err(problem) => Either::Right(ready(problem.into_response())),
        }
    }
}

/// Refuses a request that comes too fast, or whose caller may not do what the call is for, and hands the caller on.
fn admit(
    need: Need,
    counts: Counts,
    state: &AppState,
    request: &mut Request,
) -> Result<(), Problem> {
    if need == Need::Nothing {
        return Ok(());
    }
    let identity = match &state.proof {
        Proof::None(anybody) => Some(Identity::Proved(anybody.clone())),
        Proof::Required => request.extensions_mut().remove(),
    };
    match &identity {
        Some(Identity::Proved(caller)) => quotas::check(counts, state, caller, request)?,
        Some(Identity::Tenantless(caller, _)) => quotas::check_tenantless(state, caller)?,
        _ => {}
    }
    let policies = || state.router().credentials().policies();
    if let Some(caller) = need.check(identity, policies)? {
        request.extensions_mut().insert(By(caller));
    }
    Ok(())
}
