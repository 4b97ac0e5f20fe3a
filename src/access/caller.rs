//! Callers: those who act.

use std::fmt;

use bson::DateTime;
use ipnet::IpNet;

use super::{Claims, SaidQuotas, Scope, Scopes, Sight};

/// The ways in which a caller proves itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum CallerKind {
    /// Not at all: the service runs with `auth = "none"`.
    None,
    /// By an API key.
    Key,
    /// By a token (JWT) of an issuer.
    Token,
}

impl CallerKind {
    /// Returns the kind as `/whoami` and metrics name it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Key => "key",
            Self::Token => "jwt",
        }
    }
}

/// A digest of a key of an issuer and its id.
pub(crate) type KeyPrint = [u8; 32];

/// The part of a token that a revocation can name.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct TokenIdentity {
    /// The issuer's name in the settings.
    pub issuer: Box<str>,
    pub subject: Box<str>,
    pub jti: Option<Box<str>>,
    /// The id of the key that has signed it: the issuer's for it, or the token's where the issuer gave it none.
    pub kid: Option<Box<str>>,
    /// Seconds since 1970.
    pub issued_at: Option<i64>,
    /// The key that has signed it.
    pub signed_by: KeyPrint,
}

/// The proof of a caller, which can be taken away.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Credential {
    /// Nothing was asked for.
    None,
    /// A key: its `_id`, and the SHA-256 of its text or its certificate. Another secret under the same `_id` is another key.
    Key {
        id: Box<str>,
        hash: [u8; 32],
        /// The end of the certificate, if it is for one: the key proves nothing without it.
        not_after: Option<DateTime>,
    },
    /// A token.
    Token(Box<TokenIdentity>),
}

impl Credential {
    /// Returns the id of the key, if it is one.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            Self::Key { id, .. } => Some(id),
            Self::None | Self::Token(_) => None,
        }
    }
}

/// The places at which a credential may be used.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct KeyLimits {
    /// The client's address is in one of these. `None`: anywhere.
    pub networks: Option<Box<[IpNet]>>,
    /// Pages of these origins alone may use it. `None`: any, and clients that are no pages.
    pub origins: Option<Box<[Box<str>]>>,
    /// It is for these subscriptions alone. `None`: for all in sight.
    pub subscriptions: Option<Box<[Box<str>]>>,
    /// It is a ticket, for these of the subscriptions in sight. `None`: it is none.
    pub ticket: Option<Box<[Box<str>]>>,
}

impl KeyLimits {
    /// Whether they are those of another credential, or allow more subscriptions.
    pub(crate) fn cover(&self, other: &Self) -> bool {
        let subscriptions = match (&self.subscriptions, &other.subscriptions) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(others)) => others.iter().all(|id| own.contains(id)),
        };
        self.networks == other.networks && self.origins == other.origins && subscriptions
    }
}

/// The one who acts, with everything that it may do.
#[derive(Clone, PartialEq)]
pub(crate) struct Caller {
    pub kind: CallerKind,
    /// The key's id, or the token's subject; empty for nobody in particular.
    pub id: Box<str>,
    /// The name under which the caller owns subscriptions: `key:ID`, or `ISSUER:SUB`.
    pub owner: Option<Box<str>>,
    /// `None`: an operator, who sees all tenants.
    pub tenant: Option<Box<str>>,
    pub scopes: Scopes,
    /// The policy that narrows what the caller sees. `None`: nothing does, which only operators have.
    pub policy: Option<Box<str>>,
    /// Claims beside the tenant.
    pub claims: Claims,
    /// The end of the credential, with the leeway of its issuer.
    pub expires_at: Option<DateTime>,
    pub credential: Credential,
    pub limits: KeyLimits,
    /// The bounds on the credential itself, besides those on its tenant.
    pub quotas: SaidQuotas,
}

impl Caller {
    /// Returns the caller of a service that asks for no proof. It may do everything.
    pub(crate) fn anybody() -> Self {
        Self {
            kind: CallerKind::None,
            id: Box::default(),
            owner: None,
            tenant: None,
            scopes: Scopes::ALL,
            policy: None,
            claims: Claims::default(),
            expires_at: None,
            credential: Credential::None,
            limits: KeyLimits::default(),
            quotas: SaidQuotas::default(),
        }
    }

    /// Whether it may do what a scope gives.
    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.scopes.has(scope)
    }

    /// Whether it sees all tenants.
    pub(crate) fn is_operator(&self) -> bool {
        self.tenant.is_none()
    }

    /// Whether a policy narrows what it sees. It cannot take the policy off again: an administrator could, and so none
    /// counts for that one.
    pub(crate) fn is_narrowed(&self) -> bool {
        !self.is_operator() || (self.policy.is_some() && !self.may(Scope::Admin))
    }

    /// Whether there may be a bound on how much it has and does: on its tenant, or on its credential.
    pub(crate) fn is_bounded(&self) -> bool {
        self.tenant.is_some() || !self.quotas.is_empty()
    }

    /// Returns the subscriptions that it sees. A credential that names its subscriptions sees them with the right to
    /// receive events alone.
    pub(crate) fn sight(&self) -> Sight {
        let seen = self.may(Scope::SubscriptionsRead) || self.may(Scope::SubscriptionsWrite);
        let named = self.may(Scope::EventsRead) && self.limits.subscriptions.is_some();
        self.sight_with(seen || named)
    }

    /// Returns the keys and revocations that it sees: its tenant's, or all.
    pub(crate) fn sight_of_credentials(&self) -> Sight {
        Sight::new(self.tenant.clone(), None, None)
    }

    /// Returns the subscriptions that it may change and delete.
    pub(crate) fn reach(&self) -> Sight {
        self.sight_with(self.may(Scope::SubscriptionsWrite))
    }

    fn sight_with(&self, all_of_tenant: bool) -> Sight {
        let owner = match &self.owner {
            _ if all_of_tenant => None,
            Some(owner) if self.may(Scope::SubscriptionsOwn) => Some(owner.clone()),
            _ => return Sight::NOTHING,
        };
        let sight = Sight::new(
            self.tenant.clone(),
            owner,
            self.limits.subscriptions.clone(),
        );
        match &self.limits.ticket {
            Some(ids) => sight.of_these(ids),
            None => sight,
        }
    }
}

/// Shows who it is, for logs, and nothing of what proves it.
impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("kind", &self.kind.as_str())
            .field("owner", &self.owner)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}
