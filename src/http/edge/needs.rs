//! The needs of calls: the scopes that a caller must have. The route table says it of each call, and the description shows it.

use std::sync::Arc;

use axum::{
    extract::Request,
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{
    caller::{By, Identity},
    problem::{Kind, Problem},
    quotas::{self, Counts},
    unauthenticated::{missing, unsatisfied},
};
use crate::access::{Caller, Policies, Scope};

/// The need of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    /// Nothing. A credential is not looked at.
    Nothing,
    /// Nothing, but a caller who proves itself is shown more.
    Anybody,
    /// Any caller who proves itself.
    Proof,
    /// One of these scopes.
    AnyOf(&'static [Scope]),
    /// One of these scopes, for a call that shows events: if the caller has a policy that narrows which, it can be applied.
    UnderPolicy(&'static [Scope]),
}

impl Need {
    /// Any scope at all, to match events with filters.
    pub(crate) const ANY_SCOPE: Self = Self::UnderPolicy(&Scope::ALL);

    /// Returns the caller, if there is one to tell of, or refuses the request.
    pub(super) fn check(
        self,
        identity: Option<Identity>,
        policies: Option<&Policies>,
    ) -> Result<Option<Arc<Caller>>, Problem> {
        let identity = match (self, identity) {
            (Self::Nothing, _) => return Ok(None),
            // Nobody has looked at the request: then nobody is let through.
            (_, None) => Identity::Unproved,
            (_, Some(identity)) => identity,
        };
        let caller = match (self, identity) {
            (_, Identity::Refused(problem)) => return Err(problem),
            (Self::Nothing | Self::Anybody, Identity::Unproved) => return Ok(None),
            (_, Identity::Unproved) => return Err(missing()),
            // It may learn who it is, and no more.
            (Self::Proof, Identity::Tenantless(caller, _)) | (_, Identity::Proved(caller)) => {
                caller
            }
            (_, Identity::Tenantless(_, claim)) => return Err(tenantless(&claim)),
        };
        match self {
            Self::AnyOf(scopes) | Self::UnderPolicy(scopes)
                if !scopes.iter().any(|scope| caller.may(*scope)) =>
            {
                Err(insufficient(scopes))
            }
            Self::UnderPolicy(_) => match policies.map(|all| all.of_caller(&caller)) {
                Some(Ok(_)) => Ok(Some(caller)),
                Some(Err(unbound)) => Err(unsatisfied(&unbound)),
                // Nobody knows the policies: then nothing is in sight.
                None => Err(Problem::new(
                    Kind::NotReady,
                    "this node has not loaded its policies yet",
                )),
            },
            _ => Ok(Some(caller)),
        }
    }

    /// Returns the scopes of which one is needed.
    pub(crate) fn scopes(self) -> &'static [Scope] {
        match self {
            Self::AnyOf(scopes) | Self::UnderPolicy(scopes) => scopes,
            Self::Nothing | Self::Anybody | Self::Proof => &[],
        }
    }
}

/// Refuses a request that comes too fast, or whose caller may not do what the call is for, and hands the caller on.
pub(crate) async fn require(
    need: Need,
    counts: Counts,
    mut request: Request,
    next: Next,
) -> Response {
    let identity = request.extensions_mut().remove::<Identity>();
    let in_time = match &identity {
        _ if need == Need::Nothing => Ok(()),
        Some(Identity::Proved(caller)) => quotas::check(counts, caller, &request),
        Some(Identity::Tenantless(caller, _)) => quotas::check_tenantless(caller, &request),
        _ => Ok(()),
    };
    if let Err(problem) = in_time {
        return problem.into_response();
    }
    let policies = request.extensions().get::<Arc<Policies>>();
    match need.check(identity, policies.map(|all| &**all)) {
        Ok(Some(caller)) => {
            request.extensions_mut().insert(By(caller));
            next.run(request).await
        }
        Ok(None) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Returns the refusal of a caller whose credential does not say of which tenant it is: it is nobody's.
fn tenantless(claim: &str) -> Problem {
    let detail = format!(
        "the token's claim {claim:?} must name the tenant: a text that is not empty and has no colon"
    );
    Problem::new(Kind::PolicyUnsatisfied, detail).with("claim", claim.into())
}

/// Returns the refusal of a caller that has none of these scopes.
pub(crate) fn insufficient(scopes: &[Scope]) -> Problem {
    let names: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
    let challenge = format!(
        r#"Bearer realm="tidegate", error="insufficient_scope", scope="{}""#,
        names.join(" ")
    );
    let detail = format!(
        "the credential needs one of these scopes: {}",
        names.join(", ")
    );
    let problem = Problem::new(Kind::Forbidden, detail).with("scope", names.join(" ").into());
    match HeaderValue::from_str(&challenge) {
        Ok(challenge) => problem.with_header(header::WWW_AUTHENTICATE, challenge),
        Err(_) => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Credential, Scopes};

    fn proved(scopes: &[Scope]) -> Identity {
        Identity::Proved(Arc::new(Caller {
            scopes: Scopes::of(scopes),
            ..Caller::anybody()
        }))
    }

    fn status(need: Need, identity: Option<Identity>) -> u16 {
        match need.check(identity, Some(&Policies::new(true))) {
            Ok(_) => 200,
            Err(problem) => problem.status().as_u16(),
        }
    }

    #[test]
    fn a_call_is_open_to_those_whom_it_needs() {
        let need = Need::UnderPolicy(&[Scope::EventsRead, Scope::Metrics]);
        let refused = || Identity::Refused(missing());
        for (need, none, unproved, invalid, without, with) in [
            (Need::Nothing, 200, 200, 200, 200, 200),
            (Need::Anybody, 200, 200, 401, 200, 200),
            (Need::Proof, 401, 401, 401, 200, 200),
            (need, 401, 401, 401, 403, 200),
        ] {
            assert_eq!(status(need, None), none);
            assert_eq!(status(need, Some(Identity::Unproved)), unproved);
            assert_eq!(status(need, Some(refused())), invalid);
            assert_eq!(status(need, Some(proved(&[Scope::KeysWrite]))), without);
            assert_eq!(status(need, Some(proved(&[Scope::Metrics]))), with);
            assert_eq!(status(need, Some(proved(&[Scope::Admin]))), 200);
        }
        assert_eq!(status(Need::ANY_SCOPE, Some(proved(&[]))), 403);
        let tenantless = || Identity::Tenantless(Arc::new(Caller::anybody()), "tenant".into());
        for (need, expected) in [
            (Need::Nothing, 200),
            (Need::Anybody, 403),
            (Need::Proof, 200),
            (need, 403),
        ] {
            assert_eq!(status(need, Some(tenantless())), expected);
        }
    }

    #[test]
    fn a_caller_whose_policy_is_missing_is_shown_no_event() {
        let bound = |tenant: Option<&str>, policy: Option<&str>| {
            Some(Identity::Proved(Arc::new(Caller {
                tenant: tenant.map(Into::into),
                policy: policy.map(Into::into),
                credential: Credential::Key {
                    id: "k".into(),
                    hash: [0; 32],
                    not_after: None,
                },
                ..Caller::anybody()
            })))
        };
        for (tenant, policy, expected) in [
            (None, None, 200),
            (None, Some("p"), 403),
            (Some("acme"), Some("default"), 403),
        ] {
            let under_policy = Need::UnderPolicy(&[Scope::EventsRead]);
            assert_eq!(status(under_policy, bound(tenant, policy)), expected);
            let other = Need::AnyOf(&[Scope::KeysWrite]);
            assert_eq!(status(other, bound(tenant, policy)), 200);
            assert_eq!(status(Need::Proof, bound(tenant, policy)), 200);
        }
    }
}
