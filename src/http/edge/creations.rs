//! Subscriptions that are being created, for as long as this node's router may not know them.
//!
//! A tenant may have so many. The router knows how many it has, and the requests that are under way add to that: whoever
//! asks counts those before it whose subscriptions the router does not know yet. So requests at the same time do not all
//! take the last place, and one that is sent again is not refused for what it stored before.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
};

use super::{
    problem::{Kind, Problem},
    quotas::exceeded,
    state::AppState,
};
use crate::{
    access::{Caller, Quota, tenant_bound},
    router::Counted,
};

/// The subscriptions that are being created, by whom they count for.
#[derive(Default, Debug)]
pub(crate) struct Creations(Mutex<UnderWay>);

#[derive(Default, Debug)]
struct UnderWay {
    of: HashMap<Counted, Vec<Creation>>,
    next: u64,
}

#[derive(Debug)]
struct Creation {
    number: u64,
    ids: Vec<Box<str>>,
}

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

impl Creations {
    /// Notes subscriptions that are about to be created. Returns a number, and the ids of those that were noted before.
    fn begin(&self, counted: &Counted, ids: &[Box<str>]) -> (u64, Vec<Box<str>>) {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = under_way.next;
        under_way.next += 1;
        let all = under_way.of.entry(counted.clone()).or_default();
        let before = all.iter().flat_map(|one| one.ids.iter().cloned()).collect();
        let ids = ids.to_vec();
        all.push(Creation { number, ids });
        (number, before)
    }

    /// Notes that only these of them will be created.
    fn keep(&self, counted: &Counted, number: u64, ids: Vec<Box<str>>) {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = under_way.of.get_mut(counted);
        let mut all = all.into_iter().flatten();
        if let Some(one) = all.find(|one| one.number == number) {
            one.ids = ids;
        }
    }

    fn end(&self, counted: &Counted, number: u64) {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(all) = under_way.of.get_mut(counted) {
            all.retain(|one| one.number != number);
            if all.is_empty() {
                under_way.of.remove(counted);
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_under_way_are_seen_until_they_end() {
        let creations = Creations::default();
        let of = |name: &str| Counted::Tenant(name.into());
        let ids = |ids: &[&str]| ids.iter().map(|id| Box::from(*id)).collect::<Vec<_>>();
        let (first, before) = creations.begin(&of("a"), &ids(&["1", "2"]));
        assert!(before.is_empty());
        assert!(creations.begin(&of("b"), &ids(&["3"])).1.is_empty());
        let (second, before) = creations.begin(&of("a"), &ids(&["4"]));
        assert_eq!(before, ids(&["1", "2"]));
        creations.keep(&of("a"), first, ids(&["2"]));
        let (third, before) = creations.begin(&of("a"), &[]);
        assert_eq!(before, ids(&["2", "4"]));
        creations.end(&of("a"), third);
        creations.end(&of("a"), first);
        assert_eq!(creations.begin(&of("a"), &[]).1, ids(&["4"]));
        creations.end(&of("a"), second);
        assert!(creations.begin(&of("a"), &[]).1.is_empty());
    }
}
