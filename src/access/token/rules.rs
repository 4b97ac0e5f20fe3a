//! The rules of an issuer: what its tokens must be, and the callers that they prove.

use std::{str::FromStr as _, time::Duration};

use bson::DateTime;
use jsonwebtoken::Algorithm;

use super::{KeySet, TokenFault, payload::Payload, text::TokenText};
use crate::{
    access::{
        Caller, CallerKind, Credential, KeyLimits, SaidQuotas, Scope, Scopes, TokenIdentity,
        is_tenant,
    },
    config,
};

/// The policy of a caller with a tenant whose credential names none.
const DEFAULT_POLICY: &str = "default";

/// The rules of an issuer.
#[derive(Clone, Debug)]
pub(crate) struct IssuerRules {
    name: Box<str>,
    issuer: Box<str>,
    audience: Box<[Box<str>]>,
    algorithms: Box<[Algorithm]>,
    /// `None` takes any.
    media_type: Option<Box<str>>,
    tenancy: Tenancy,
    scope_claim: Box<str>,
    /// The most that a token gets.
    ceiling: Scopes,
    default_scopes: Scopes,
    policy: Option<Box<str>>,
    /// In milliseconds, as all times here.
    leeway: i64,
    max_lifetime: i64,
}

/// The tenant of an issuer's tokens.
#[derive(Clone, Debug)]
enum Tenancy {
    /// One for all.
    Fixed(Box<str>),
    /// The one that a claim names.
    Claim(Box<str>),
    /// None: they are operators'.
    Operators,
}

/// The outcome of a token that is the issuer's.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Proven {
    /// It is a caller's.
    Caller(Caller),
    /// It does not say of which tenant its holder is. The caller has no scopes.
    Tenantless {
        /// The holder, for `/whoami`.
        caller: Caller,
        /// The claim that would name the tenant.
        claim: Box<str>,
    },
}

impl IssuerRules {
    /// Returns the rules of an issuer of this name. The settings must have been checked.
    pub(crate) fn new(name: &str, settings: &config::Issuer) -> Self {
        let set = |text: &str| (!text.is_empty()).then(|| Box::<str>::from(text));
        let scopes = |names: &[String]| -> Scopes {
            names.iter().filter_map(|name| Scope::parse(name)).collect()
        };
        let tenancy = match (set(&settings.tenant), set(&settings.tenant_claim)) {
            (Some(tenant), _) => Tenancy::Fixed(tenant),
            (None, Some(claim)) => Tenancy::Claim(claim),
            (None, None) if settings.admin => Tenancy::Operators,
            // No token has it: nobody is an operator by accident.
            (None, None) => Tenancy::Claim(Box::default()),
        };
        let ceiling = match tenancy {
            Tenancy::Operators => scopes(&settings.scopes),
            // Only operators have it, whatever a token says.
            Tenancy::Fixed(_) | Tenancy::Claim(_) => scopes(&settings.scopes).without(Scope::Admin),
        };
        let algorithms = settings.algorithms.iter();
        Self {
            name: name.into(),
            issuer: settings.issuer.as_str().into(),
            audience: settings
                .audience
                .iter()
                .map(|text| text.as_str().into())
                .collect(),
            algorithms: algorithms
                .filter_map(|name| Algorithm::from_str(name).ok())
                .collect(),
            media_type: set(&settings.typ),
            tenancy,
            scope_claim: settings.scope_claim.as_str().into(),
            ceiling,
            default_scopes: scopes(&settings.default_scopes),
            policy: set(&settings.policy),
            leeway: millis(settings.leeway),
            max_lifetime: millis(settings.max_lifetime),
        }
    }

    /// Returns the issuer's name in the settings.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the claim `iss` of its tokens.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns the longest time, in milliseconds, for which a token that is accepted now can stand.
    pub(crate) fn longest_life(&self) -> i64 {
        self.max_lifetime.saturating_add(self.leeway)
    }

    /// Verifies a token that names this issuer with the issuer's keys.
    pub(crate) fn verify(
        &self,
        token: &TokenText<'_>,
        keys: &KeySet,
        now: DateTime,
    ) -> Result<Proven, TokenFault> {
        if token.issuer() != self.issuer() {
            return Err(TokenFault::Issuer);
        }
        if let Some(expected) = &self.media_type
            && !token
                .media_type
                .as_deref()
                .is_some_and(|named| is_type(named, expected))
        {
            return Err(TokenFault::Type);
        }
        let algorithm = Algorithm::from_str(&token.algorithm).ok();
        let algorithm = algorithm.filter(|algorithm| self.algorithms.contains(algorithm));
        let algorithm = algorithm.ok_or(TokenFault::Algorithm)?;
        let signer = keys.signer(token, algorithm)?;
        let payload = Payload(&token.claims);
        let (expires_at, issued_at) = self.check_times(payload, now.timestamp_millis())?;
        payload.check_audience(&self.audience)?;
        let missing = || TokenFault::claim("sub", "is missing");
        let subject = payload.name("sub")?.ok_or_else(missing)?;
        let identity = TokenIdentity {
            issuer: self.name.clone(),
            subject: subject.into(),
            jti: payload.name("jti")?.map(Into::into),
            // A token need not name the key that its issuer gave an id.
            kid: signer.kid.or(token.kid.as_deref()).map(Into::into),
            issued_at: issued_at.map(|millis| millis.div_euclid(1_000)),
            signed_by: signer.print,
        };
        let scopes = self.scopes(payload)?;
        let caller = Caller {
            kind: CallerKind::Token,
            id: subject.into(),
            owner: Some(format!("{}:{subject}", self.name).into()),
            tenant: None,
            scopes,
            policy: self.policy.clone(),
            claims: payload.claims(),
            expires_at: Some(expires_at),
            credential: Credential::Token(Box::new(identity)),
            limits: KeyLimits::default(),
            quotas: SaidQuotas::default(),
        };
        Ok(self.with_tenant(caller, payload))
    }

    /// Checks that the token stands at a time. Returns its end, with the leeway, and when it was made.
    fn check_times(
        &self,
        payload: Payload<'_>,
        now: i64,
    ) -> Result<(DateTime, Option<i64>), TokenFault> {
        let missing = || TokenFault::claim("exp", "is missing");
        let expires = payload.time("exp")?.ok_or_else(missing)?;
        let end = expires.saturating_add(self.leeway);
        if end <= now {
            return Err(TokenFault::Expired);
        }
        if expires.saturating_sub(now) > self.max_lifetime {
            return Err(TokenFault::TooLong);
        }
        let latest = now.saturating_add(self.leeway);
        let issued = payload.time("iat")?;
        for (name, from) in [("nbf", payload.time("nbf")?), ("iat", issued)] {
            if from.is_some_and(|from| from > latest) {
                return Err(TokenFault::NotYet(name));
            }
        }
        Ok((DateTime::from_millis(end), issued))
    }

    /// Returns the scopes that a token names, or the default ones where it names none of ours, within the ceiling.
    fn scopes(&self, payload: Payload<'_>) -> Result<Scopes, TokenFault> {
        let named = payload.scopes(&self.scope_claim)?;
        let asked = named.unwrap_or(self.default_scopes);
        let asked = if self.ceiling.has(Scope::Admin) {
            asked
        } else {
            // An administrator of the issuer's is none here, and not somebody with all that the ceiling holds.
            asked.without(Scope::Admin)
        };
        Ok(asked.and(self.ceiling))
    }

    fn with_tenant(&self, caller: Caller, payload: Payload<'_>) -> Proven {
        let (tenant, claim) = match &self.tenancy {
            Tenancy::Operators => return Proven::Caller(caller),
            Tenancy::Fixed(tenant) => (Some(&**tenant), None),
            Tenancy::Claim(claim) => {
                let named = payload.0.get(&**claim).and_then(|value| value.as_str());
                (named.filter(|name| is_tenant(name)), Some(claim))
            }
        };
        match (tenant, claim) {
            (Some(tenant), _) => Proven::Caller(Caller {
                tenant: Some(tenant.into()),
                policy: caller.policy.or_else(|| Some(DEFAULT_POLICY.into())),
                ..caller
            }),
            (None, claim) => Proven::Tenantless {
                caller: Caller {
                    scopes: Scopes::NONE,
                    ..caller
                },
                claim: claim.cloned().unwrap_or_default(),
            },
        }
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Whether two media types are the same: their case does not count, and `application/` may be left out (RFC 7515, 4.1.9).
fn is_type(one: &str, other: &str) -> bool {
    let bare = |name: &str| {
        let name = name.to_ascii_lowercase();
        let short = name.strip_prefix("application/").map(str::to_owned);
        short.filter(|short| !short.contains('/')).unwrap_or(name)
    };
    bare(one) == bare(other)
}
