//! Quotas: what a caller with a bound may still do, and how the others are refused.

use std::num::NonZeroU32;

use axum::extract::Request;

use super::{
    problem::{Kind, Problem},
    rates::{Part, Whose},
    state::AppState,
};
use crate::access::{Caller, Credential, Quota, tenant_bound};

/// The quota that a call counts towards, by the request.
pub(crate) type Counts = fn(&Request) -> Quota;

/// Returns the quota of most calls.
pub(crate) fn as_request(_: &Request) -> Quota {
    Quota::RequestsPerSecond
}

/// Returns the quota of publishing. The call counts its events beyond the first itself, as soon as it knows their number.
pub(crate) fn as_publishing(_: &Request) -> Quota {
    Quota::PublishPerSecond
}

/// Refuses a request that comes too fast, before anything else is done for it.
pub(super) fn check(
    counts: Counts,
    state: &AppState,
    caller: &Caller,
    request: &Request,
) -> Result<(), Problem> {
    if !caller.is_bounded() {
        return Ok(());
    }
    take(state, caller, counts(request), Part::First)
}

/// Refuses a request with a token that names no tenant, if such tokens of its issuer come too fast. The settings bound them
/// like a tenant.
pub(super) fn check_tenantless(state: &AppState, caller: &Caller) -> Result<(), Problem> {
    let Credential::Token(token) = &caller.credential else {
        return Ok(());
    };
    let quota = Quota::RequestsPerSecond;
    match quota.of_all(&state.bounds.quotas) {
        Some(most) => take_of(
            state,
            Whose::Issuer(&token.issuer),
            quota,
            most,
            Part::First,
        ),
        None => Ok(()),
    }
}

/// Takes so many tickets that turned out not to be stored from what strangers may present, or refuses one more. To take none
/// is to ask. The settings bound them all like one tenant.
pub(super) fn take_unknown_tickets(state: &AppState, count: u32) -> Result<(), Problem> {
    let quota = Quota::ConnectsPerSecond;
    match quota.of_all(&state.bounds.quotas) {
        Some(most) => take_of(state, Whose::Strangers, quota, most, Part::Rest(count)),
        None => Ok(()),
    }
}

/// Takes the rest of a rate for what turned out to be so many, of which the first was taken with the request; or refuses
/// it.
pub(crate) fn take_rest(
    state: &AppState,
    caller: &Caller,
    quota: Quota,
    count: u32,
) -> Result<(), Problem> {
    match count.checked_sub(1) {
        Some(rest) if rest > 0 && caller.is_bounded() => {
            take(state, caller, quota, Part::Rest(rest))
        }
        _ => Ok(()),
    }
}

fn take(state: &AppState, caller: &Caller, quota: Quota, part: Part) -> Result<(), Problem> {
    let of_key = caller
        .quotas
        .bound(quota)
        .map(|most| (Whose::Key(&caller.id), most));
    let policies = state.router().credentials().policies();
    let of_tenant = tenant_bound(&state.bounds.quotas, &policies, caller, quota);
    let tenant = caller.tenant.as_deref().zip(of_tenant);
    let of_tenant = tenant.map(|(name, most)| (Whose::Tenant(name), most));
    for (whose, most) in of_key.into_iter().chain(of_tenant) {
        take_of(state, whose, quota, most, part)?;
    }
    Ok(())
}

fn take_of(
    state: &AppState,
    whose: Whose<'_>,
    quota: Quota,
    most: NonZeroU32,
    part: Part,
) -> Result<(), Problem> {
    let taken = state.bounds.rates.take(whose, quota, most, part);
    taken.map_err(|left| {
        state.metrics().access.limited(quota.name());
        too_fast(whose, quota, most).retry_after(left)
    })
}

fn too_fast(whose: Whose<'_>, quota: Quota, most: NonZeroU32) -> Problem {
    let does = match quota {
        Quota::PublishPerSecond => "events are published",
        Quota::ConnectsPerSecond => "sockets and streams are asked for",
        _ => "requests are made",
    };
    let detail = format!(
        "more than {most} {does} in a second {}",
        limit_of(whose, quota)
    );
    of_quota(Kind::TooManyRequests, detail, quota, most)
}

/// Returns the refusal of a caller that has as many of something as it may.
pub(crate) fn exceeded(
    state: &AppState,
    detail: impl std::fmt::Display,
    quota: Quota,
    most: NonZeroU32,
) -> Problem {
    state.metrics().access.limited(quota.name());
    of_quota(Kind::QuotaExceeded, detail, quota, most)
}

fn of_quota(kind: Kind, detail: impl std::fmt::Display, quota: Quota, most: NonZeroU32) -> Problem {
    Problem::new(kind, detail)
        .with("quota", quota.name().into())
        .with("limit", most.get().into())
}

fn limit_of(whose: Whose<'_>, quota: Quota) -> String {
    let name = quota.name();
    match whose {
        Whose::Tenant(_) => format!("by the tenant (quotas.{name})"),
        Whose::Key(_) => format!("with the key (its limits.{name})"),
        Whose::Strangers => format!("with tickets that are not stored (quotas.{name})"),
        Whose::Issuer(_) => format!("with tokens that name no tenant (quotas.{name})"),
    }
}
