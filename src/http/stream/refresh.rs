//! Refreshing the credential of an open stream: a message on the socket is judged as a request's credential is.

use std::sync::Arc;

use crate::{
    http::edge::{
        AppState, Proof, Shared,
        caller::{authenticate, refused},
        problem::{Kind, Problem},
    },
    protocol::Token,
    router::{RefreshError, Refreshed, registry::SessionKey},
    session::{NotRefreshed, Refresher, Refreshing},
};

impl Refresher for Shared {
    fn refresh(self: Arc<Self>, session: SessionKey, token: Token) -> Refreshing {
        let state = AppState::from(self);
        Box::pin(async move { refresh(&state, session, &token.into_text()).await })
    }
}

/// Proves who presents a credential, and has the router take it for a session. Whoever decides counts.
async fn refresh(
    state: &AppState,
    session: SessionKey,
    text: &str,
) -> Result<Refreshed, NotRefreshed> {
    let refuse = |outcome, problem: &Problem| {
        state.metrics().access.refreshed(outcome);
        not_refreshed(problem)
    };
    let proved = match &state.proof {
        // No credential is looked at.
        Proof::None(anybody) => Ok(anybody.as_ref().clone()),
        Proof::Required => authenticate(state, text).await,
    };
    let caller = proved.map_err(|(outcome, problem)| refuse(outcome, &problem))?;
    let judged = state.router().refresh(session, caller).await;
    judged.map_err(|error| match error {
        RefreshError::Refused(refusal) => not_refreshed(&refused(refusal)),
        RefreshError::Forbidden | RefreshError::Ended => NotRefreshed::Ends,
        RefreshError::Busy(busy) => refuse("undecided", &Problem::new(Kind::Overloaded, busy)),
    })
}

fn not_refreshed(problem: &Problem) -> NotRefreshed {
    if problem.status().is_server_error() {
        NotRefreshed::Undecided(problem.to_json())
    } else {
        NotRefreshed::Refused(problem.to_json())
    }
}
