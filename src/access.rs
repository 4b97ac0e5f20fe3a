//! Rights: callers, what proves them, and what takes that proof away.
//!
//! Keys, policies and revocations are documents. The feed carries them, and the router applies them in the order of
//! everything else, into [`Credentials`]. One question decides there, for a request, for an attach and for a session
//! that is open: does this caller still stand? Pure: no async, no I/O.

mod binding;
mod caller;
mod certificate;
mod claims;
mod credential_kind;
mod credentials;
mod key;
mod key_text;
mod keys;
mod new_key;
mod new_revocation;
mod policies;
mod policy;
mod quotas;
mod refresh;
mod retired_keys;
mod revocation;
mod right;
mod room;
mod scope;
mod sight;
mod text;
mod ticket;
mod ticket_text;
mod token;

use self::policies::policy_of;
pub(crate) use self::{
    binding::Binding,
    caller::{Caller, CallerKind, Credential, KeyLimits, KeyPrint, TokenIdentity},
    certificate::{
        ClientCertificate, Fingerprint, not_after, parse_fingerprint, shown_fingerprint,
    },
    claims::MOST_CLAIMS,
    credential_kind::CredentialKind,
    credentials::{Credentials, CredentialsChange, PolicyChange, Refusal, Touched},
    key::{KeyProof, StoredKey, is_tenant},
    key_text::{KeyText, shown_prefix},
    new_key::{Excess, NewKey},
    new_revocation::NewRevocation,
    policies::{Policies, Unbound, is_under, tenant_bound},
    quotas::{Quota, SaidQuotas},
    revocation::{Revocation, Revocations},
    room::Room,
    scope::{Scope, Scopes},
    sight::{CLAIMS, KEY_OWNER, OWNER, POLICY, TENANT},
    ticket::{ticket_caller, ticket_document},
    ticket_text::TicketText,
    token::{
        IssuerRules, KeySet, KeySetFault, KeysChange, MOST_SET_BYTES, Proven, TokenFault, TokenText,
    },
};
pub use self::{
    claims::{ClaimValue, Claims},
    policy::{
        BoundPolicy, BoundPublishing, Fault as PolicyFault, Policy, PublishRefusal, StampFault,
        Unsatisfied, Warning as PolicyWarning,
    },
    right::{Right, RightKind},
    sight::{Holder, Sight},
};
