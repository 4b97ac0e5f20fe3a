//! Refreshing: a caller that goes on with a session proves itself anew.

use bson::RawDocument;

use super::{CLAIMS, Caller, Credential};

impl Caller {
    /// Returns this caller by the proof that `fresh` gave; `None` if that is another caller, or one with fewer rights. The
    /// session stays as narrow as it was opened: for the subscriptions that its credential named then.
    pub(crate) fn refreshed_by(&self, fresh: Self) -> Option<Self> {
        let same = fresh.owner == self.owner
            && fresh.credential.is_of_same_holder(&self.credential)
            && fresh.tenant == self.tenant
            && fresh.policy == self.policy;
        if !same || !fresh.scopes.cover(self.scopes) || !fresh.limits.cover(&self.limits) {
            return None;
        }
        Some(Self {
            kind: self.kind,
            limits: self.limits.clone(),
            ..fresh
        })
    }

    /// Whether another proof of this caller has the same values for the claims that a stored subscription is bound by.
    pub(crate) fn has_same_bound_claims(&self, fresh: &Self, subscription: &RawDocument) -> bool {
        let Ok(bound) = subscription.get_document(CLAIMS) else {
            return true;
        };
        let same = |name: &str| self.claims.get(name) == fresh.claims.get(name);
        let mut claims = bound.iter();
        claims.all(|claim| claim.is_ok_and(|(name, _)| same(name.as_str())))
    }
}

impl Credential {
    /// Whether both are keys of one id, or tokens of one issuer for one subject.
    fn is_of_same_holder(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Key { id, .. }, Self::Key { id: other, .. }) => id == other,
            (Self::Token(token), Self::Token(other)) => {
                token.issuer == other.issuer && token.subject == other.subject
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{ClaimValue, KeyLimits, Scope, Scopes, TokenIdentity};
    use bson::{DateTime, RawDocumentBuf, doc};

    fn token(jti: &str) -> TokenIdentity {
        TokenIdentity {
            issuer: "main".into(),
            subject: "42".into(),
            jti: Some(jti.into()),
            kid: None,
            issued_at: None,
            signed_by: [0; 32],
        }
    }

    /// Returns the caller that a token proves.
    fn proved(jti: &str) -> Caller {
        Caller {
            id: "42".into(),
            owner: Some("main:42".into()),
            tenant: Some("acme".into()),
            policy: Some("default".into()),
            scopes: Scopes::of(&[Scope::EventsRead, Scope::SubscriptionsOwn]),
            expires_at: Some(DateTime::from_millis(5)),
            credential: Credential::Token(Box::new(token(jti))),
            ..Caller::anybody()
        }
    }

    fn other_token(change: impl FnOnce(&mut TokenIdentity)) -> Credential {
        let mut other = token("b");
        change(&mut other);
        Credential::Token(Box::new(other))
    }

    #[test]
    fn a_session_goes_on_with_the_same_caller_and_no_fewer_rights() {
        let of = |ids: &[&str]| KeyLimits {
            subscriptions: Some(ids.iter().map(|id| (*id).into()).collect()),
            ..KeyLimits::default()
        };
        let fresh = || proved("b");
        let more = Scopes::of(&[Scope::Admin]);
        let fewer = Scopes::of(&[Scope::EventsRead]);
        let key = Credential::Key {
            id: "42".into(),
            hash: [0; 32],
            not_after: None,
        };
        for (fresh, goes_on) in [
            (fresh(), true),
            (
                Caller {
                    scopes: more,
                    ..fresh()
                },
                true,
            ),
            (
                Caller {
                    scopes: fewer,
                    ..fresh()
                },
                false,
            ),
            (
                Caller {
                    tenant: None,
                    ..fresh()
                },
                false,
            ),
            (
                Caller {
                    policy: None,
                    ..fresh()
                },
                false,
            ),
            (
                Caller {
                    owner: Some("main:43".into()),
                    ..fresh()
                },
                false,
            ),
            (
                Caller {
                    credential: key,
                    ..fresh()
                },
                false,
            ),
            (
                Caller {
                    credential: other_token(|t| t.issuer = "other".into()),
                    ..fresh()
                },
                false,
            ),
            (
                Caller {
                    credential: other_token(|t| t.subject = "43".into()),
                    ..fresh()
                },
                false,
            ),
            (
                Caller {
                    limits: of(&["a"]),
                    ..fresh()
                },
                false,
            ),
        ] {
            let refreshed = proved("a").refreshed_by(fresh.clone());
            assert_eq!(refreshed.is_some(), goes_on, "{fresh:?}");
            assert!(refreshed.is_none_or(|caller| caller == fresh));
        }
        let narrow = Caller {
            limits: of(&["a"]),
            ..proved("a")
        };
        for (limits, goes_on) in [
            (KeyLimits::default(), true),
            (of(&["b", "a"]), true),
            (of(&["b"]), false),
        ] {
            let refreshed = narrow.refreshed_by(Caller { limits, ..fresh() });
            assert_eq!(refreshed.is_some(), goes_on);
            assert!(refreshed.is_none_or(|caller| caller.limits == narrow.limits));
        }
    }

    #[test]
    fn only_the_claims_that_a_subscription_is_bound_by_have_to_stay() {
        let with = |region: &str, nonce: &str| {
            let mut caller = proved("a");
            for (name, value) in [("region", region), ("nonce", nonce)] {
                caller.claims.insert(name, ClaimValue::String(value.into()));
            }
            caller
        };
        let bound = |document| RawDocumentBuf::try_from(&document).unwrap();
        let eu = with("eu", "1");
        let by_region = bound(doc! {"claims": {"region": "eu"}});
        assert!(eu.has_same_bound_claims(&with("eu", "2"), &by_region));
        assert!(!eu.has_same_bound_claims(&with("us", "1"), &by_region));
        assert!(!eu.has_same_bound_claims(&proved("a"), &by_region));
        assert!(eu.has_same_bound_claims(&with("us", "2"), &bound(doc! {"filter": {}})));
    }
}
