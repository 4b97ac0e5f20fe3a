//! The bodies of requests that make a revocation.

use bson::DateTime;

use crate::{
    access::{Caller, NewRevocation, is_tenant},
    http::edge::{fields::Fields, problem::Problem},
    identity::Issuers,
};

/// The longest text, in characters: tokens have no longer ones.
const TEXT_CHARS: usize = 255;

const FIELDS: [&str; 8] = [
    "issuer",
    "jti",
    "sub",
    "kid",
    "tenant",
    "issuedBefore",
    "expiresAt",
    "reason",
];

/// Reads a caller's request to make a revocation.
pub(super) fn revocation(
    bytes: &[u8],
    caller: &Caller,
    issuers: &Issuers,
    now: DateTime,
) -> Result<NewRevocation, Problem> {
    let mut fields = Fields::read(bytes, &FIELDS)?;
    let revocation = NewRevocation {
        issuer: fields.text("issuer", TEXT_CHARS),
        jti: fields.text("jti", TEXT_CHARS),
        sub: fields.text("sub", TEXT_CHARS),
        kid: fields.text("kid", TEXT_CHARS),
        tenant: fields.text("tenant", TEXT_CHARS),
        issued_before: fields.time("issuedBefore"),
        expires_at: fields.future("expiresAt", now),
        reason: fields.text("reason", TEXT_CHARS),
    };
    if !fields.faults.is_empty() {
        return fields.finish(revocation);
    }
    if let Err(reason) = revocation.check() {
        fields.faults.blame("#", reason);
    }
    if revocation
        .tenant
        .as_deref()
        .is_some_and(|tenant| !is_tenant(tenant))
    {
        let reason = "must not be empty or contain a colon";
        fields.faults.blame("#/tenant", reason);
    }
    let shown = caller.is_operator();
    check_issuer(&mut fields, &revocation, issuers, shown);
    check_end(&mut fields, &revocation, issuers, now);
    fields.finish(revocation)
}

/// Refuses an issuer that is not configured here: a misspelt one would revoke nobody. Other tenants have theirs among the
/// issuers, so that the list is shown to operators alone.
fn check_issuer(fields: &mut Fields, revocation: &NewRevocation, issuers: &Issuers, shown: bool) {
    let Some(name) = &revocation.issuer else {
        return;
    };
    if !issuers.names().any(|known| known == name) {
        let known: Vec<_> = issuers.names().collect();
        let reason = match &known[..] {
            _ if !shown => "is not configured".to_owned(),
            [] => "is not configured: this node has no issuers".to_owned(),
            known => format!("is not configured; the issuers are {}", known.join(", ")),
        };
        fields.faults.blame("#/issuer", reason);
    }
}

/// Refuses an end before that of the tokens: they would come back.
fn check_end(fields: &mut Fields, revocation: &NewRevocation, issuers: &Issuers, now: DateTime) {
    let Some(end) = revocation.expires_at else {
        return;
    };
    let life = issuers.longest_life(revocation.issuer.as_deref());
    let earliest = DateTime::from_millis(now.timestamp_millis().saturating_add(life));
    if end < earliest {
        let shown = earliest.try_to_rfc3339_string().unwrap_or_default();
        let reason = format!(
            "must not be before {shown}: tokens of today could stand until then (max_lifetime)"
        );
        fields.faults.blame("#/expiresAt", reason);
    }
}
