//! Granting the creation of subscriptions, of which a tenant and a key may have so many.

use std::num::NonZeroU32;

use super::{
    problem::{Kind, Problem},
    quotas::exceeded,
    state::AppState,
};
use crate::{
    access::{Caller, Quota, tenant_bound},
    router::Counted,
};

/// Subscriptions that may be created. They count until this is dropped, which is to be once the router knows them.
#[derive(Debug)]
pub(crate) struct Granted {
    state: AppState,
    held: Vec<(Counted, u64)>,
    refusals: Vec<Option<Problem>>,
}

impl Granted {
    /// Returns the refusal of each subscription that is one too many, in the order asked for.
    pub(crate) fn take_refusals(&mut self) -> Vec<Option<Problem>> {
        std::mem::take(&mut self.refusals)
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        for (counted, number) in &self.held {
            self.state.bounds.creations.end(counted, *number);
        }
    }
}

/// Judges whether subscriptions with these ids may be created, each in its turn.
pub(crate) async fn grant(
    state: &AppState,
    caller: &Caller,
    ids: Vec<Box<str>>,
) -> Result<Granted, Problem> {
    let mut granted = Granted {
        state: state.clone(),
        held: Vec::new(),
        refusals: ids.iter().map(|_| None).collect(),
    };
    if !caller.is_bounded() {
        return Ok(granted);
    }
    for (counted, most) in bounds(state, caller) {
        let (number, mut asked) = state.bounds.creations.begin(&counted, &ids);
        granted.held.push((counted.clone(), number));
        let before = asked.len();
        asked.extend(ids.iter().cloned());
        let holdings = state.router().holdings(counted.clone(), asked).await;
        let (count, known) = holdings.map_err(|busy| Problem::new(Kind::Overloaded, busy))?;
        let (before, own) = known.split_at(before.min(known.len()));
        let coming = before.iter().filter(|known| !**known).count();
        let mut left = (most.get() as usize).saturating_sub(count + coming);
        for (known, refusal) in own.iter().zip(&mut granted.refusals) {
            if *known || refusal.is_some() {
                continue;
            }
            match left.checked_sub(1) {
                Some(rest) => left = rest,
                None => *refusal = Some(refused(state, &counted, most)),
            }
        }
    }
    let refused = granted.refusals.iter().any(Option::is_some);
    if refused {
        let judged = ids.into_iter().zip(&granted.refusals);
        let kept = judged.filter(|(_, refusal)| refusal.is_none());
        let kept: Vec<Box<str>> = kept.map(|(id, _)| id).collect();
        for (counted, number) in &granted.held {
            state.bounds.creations.keep(counted, *number, kept.clone());
        }
    }
    Ok(granted)
}

/// Judges whether one subscription may be created.
pub(crate) async fn grant_one(
    state: &AppState,
    caller: &Caller,
    id: &str,
) -> Result<Granted, Problem> {
    let mut granted = grant(state, caller, vec![id.into()]).await?;
    match granted.take_refusals().pop().flatten() {
        Some(refusal) => Err(refusal),
        None => Ok(granted),
    }
}

/// Returns those for whom a caller's subscriptions count, with their bounds.
fn bounds(state: &AppState, caller: &Caller) -> Vec<(Counted, NonZeroU32)> {
    let quota = Quota::Subscriptions;
    let owner = caller.owner.clone().map(Counted::Owner);
    let tenant = caller.tenant.clone().map(Counted::Tenant);
    let policies = state.router().credentials().policies();
    let of_tenant = tenant_bound(&state.bounds.quotas, &policies, caller, quota);
    let bounds = [owner.zip(caller.quotas.bound(quota)), tenant.zip(of_tenant)];
    bounds.into_iter().flatten().collect()
}

fn refused(state: &AppState, counted: &Counted, most: NonZeroU32) -> Problem {
    let detail = match counted {
        Counted::Tenant(_) => {
            format!(
                "the tenant has as many subscriptions as it may have ({most}, quotas.subscriptions)"
            )
        }
        Counted::Owner(_) => {
            format!(
                "the key owns as many subscriptions as it may own ({most}, its limits.subscriptions)"
            )
        }
    };
    exceeded(state, detail, Quota::Subscriptions, most)
}
