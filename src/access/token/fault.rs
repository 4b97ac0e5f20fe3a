//! The reasons for which a token is refused.

/// The check that refuses a token, and why. No message quotes the token.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum TokenFault {
    /// It is not the text of a token.
    #[error("the text {0}")]
    Text(&'static str),
    /// Its header cannot be used.
    #[error("the header {0}")]
    Header(&'static str),
    /// Its payload cannot be read, and so not its issuer.
    #[error("the payload {0}")]
    Payload(&'static str),
    /// Its issuer is not configured.
    #[error("the claim iss is not that of a configured issuer")]
    Issuer,
    /// Its type is not the one that the issuer's tokens have.
    #[error("the type in the header (typ) is not the issuer's")]
    Type,
    /// The issuer does not sign so.
    #[error("the algorithm in the header (alg) is none of the issuer's")]
    Algorithm,
    /// The issuer has no such key.
    #[error("the issuer has no key of this id (kid) and algorithm")]
    UnknownKey,
    /// It was not signed by the key; `named` says that the token names one.
    #[error("the signature is not by a key of the issuer")]
    Signature {
        /// True if the header says by which key.
        named: bool,
    },
    /// A claim is missing or cannot be used.
    #[error("the claim {claim} {reason}")]
    Claim {
        /// The name of the claim.
        claim: Box<str>,
        /// The fault.
        reason: &'static str,
    },
    /// It has ended.
    #[error("the token has expired (exp)")]
    Expired,
    /// It ends too late.
    #[error("the token is valid for longer than its issuer may allow (exp)")]
    TooLong,
    /// It is of the future.
    #[error("the token is not valid yet ({0})")]
    NotYet(&'static str),
    /// It is for others.
    #[error("the token is for another audience (aud)")]
    Audience,
    /// Its scopes cannot be read.
    #[error("the claim {0} is neither a text with blanks nor a list of texts")]
    Scopes(Box<str>),
}

impl TokenFault {
    pub(super) fn claim(claim: &str, reason: &'static str) -> Self {
        Self::Claim {
            claim: claim.into(),
            reason,
        }
    }

    /// Returns the letter of the check.
    pub(crate) const fn check(&self) -> char {
        match self {
            Self::Text(_) => 'a',
            Self::Header(_) => 'b',
            Self::Payload(_) | Self::Issuer => 'c',
            Self::Type | Self::Algorithm | Self::UnknownKey => 'd',
            Self::Signature { .. } => 'e',
            Self::Claim { .. }
            | Self::Expired
            | Self::TooLong
            | Self::NotYet(_)
            | Self::Audience => 'f',
            Self::Scopes(_) => 'h',
        }
    }

    /// Returns the outcome as metrics name it.
    pub(crate) const fn outcome(&self) -> &'static str {
        match self {
            Self::Text(_)
            | Self::Header(_)
            | Self::Payload(_)
            | Self::Type
            | Self::TooLong
            | Self::Claim { .. } => "malformed",
            Self::Issuer => "issuer",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown",
            Self::Signature { .. } => "bad_signature",
            Self::Expired => "expired",
            Self::NotYet(_) => "not_yet",
            Self::Audience => "audience",
            Self::Scopes(_) => "scope",
        }
    }

    /// Whether the token is the issuer's, so that its holder may learn the fault.
    pub(crate) const fn is_told(&self) -> bool {
        self.check() > 'e'
    }

    /// Whether keys that are newer could help.
    pub(crate) const fn asks_for_keys(&self) -> bool {
        matches!(self, Self::UnknownKey | Self::Signature { named: false })
    }
}
