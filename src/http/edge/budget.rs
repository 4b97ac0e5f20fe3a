//! A budget of bytes that requests share: one for bodies and the documents made from them, one for answers.
//!
//! A tenant has at most half of it, however slowly its clients send or read. Within that, as within the whole, a few large
//! requests leave a quarter to small ones.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use super::problem::{Kind, Problem};
use crate::telemetry::{Level, Metrics};

/// The size up to which a share may take from the last quarter of the budget, so that a few large ones do not keep
/// everyone else out.
const SMALL_BYTES: usize = 64 << 10;

/// A number of bytes that many requests share.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Bytes that all shares hold. The metric is the count itself.
    held: Level,
    /// Bytes that the shares of each tenant hold, if any. Those of others are counted in the whole alone.
    by_tenant: Mutex<HashMap<Box<str>, usize>>,
    most: usize,
    /// The kind of bytes, as it is named in refusals and metrics.
    of: &'static str,
    metrics: Arc<Metrics>,
}

/// The bytes that one request holds. They are given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    tenant: Option<Box<str>>,
    held: usize,
}

impl Budget {
    /// Returns a budget of `most` bytes, counted in `metrics`.
    pub(crate) fn new(most: usize, of: &'static str, metrics: &Arc<Metrics>) -> Self {
        Self(Arc::new(Inner {
            held: metrics.http.held(of),
            by_tenant: Mutex::default(),
            most,
            of,
            metrics: Arc::clone(metrics),
        }))
    }

    /// Returns an empty share of a request of this tenant; `None`: of an operator, or where nobody proves itself.
    pub(crate) fn share(&self, tenant: Option<&str>) -> Share {
        Share {
            budget: self.clone(),
            tenant: tenant.map(Into::into),
            held: 0,
        }
    }
}

impl Inner {
    fn by_tenant(&self) -> MutexGuard<'_, HashMap<Box<str>, usize>> {
        self.by_tenant
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts bytes for a tenant, if it holds no more than `most` then.
    fn count(&self, tenant: Option<&str>, bytes: usize, most: usize) -> bool {
        let Some(tenant) = tenant else { return true };
        let mut by_tenant = self.by_tenant();
        let held = by_tenant.get(tenant).copied().unwrap_or_default();
        let grown = held.saturating_add(bytes);
        if grown > most {
            return false;
        }
        by_tenant.insert(tenant.into(), grown);
        true
    }

    fn uncount(&self, tenant: Option<&str>, bytes: usize) {
        let Some(tenant) = tenant else { return };
        let mut by_tenant = self.by_tenant();
        if let Some(held) = by_tenant.get_mut(tenant) {
            *held = held.saturating_sub(bytes);
            if *held == 0 {
                by_tenant.remove(tenant);
            }
        }
    }

    fn refuse(&self, detail: &str) -> Problem {
        let of = self.of;
        self.metrics.http.held_refused(of, "overloaded");
        let detail = format!("{detail} as many bytes of {of} under way as it may; try again");
        Problem::new(Kind::Overloaded, detail)
    }
}

impl Share {
    /// Takes this many more bytes, or refuses the request if there are not enough.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let budget = &*self.budget.0;
        let wanted = self.held.saturating_add(bytes);
        let part = |whole: usize| {
            if wanted <= SMALL_BYTES {
                whole
            } else {
                whole / 4 * 3
            }
        };
        let tenant = self.tenant.as_deref();
        let most = part(budget.most);
        let most_of_tenant = tenant.map_or(most, |_| part(budget.most / 2));
        if wanted > most_of_tenant {
            let of = budget.of;
            budget.metrics.http.held_refused(of, "too_large");
            let detail = format!(
                "this takes more than the {most_of_tenant} bytes of {of} that one request may hold"
            );
            return Err(Problem::new(Kind::TooLarge, detail));
        }
        if !budget.count(tenant, bytes, most_of_tenant) {
            return Err(budget.refuse("the tenant has"));
        }
        let (grown, most) = (bytes as u64, most as u64);
        let held = budget.held.inner();
        let taken = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            held.checked_add(grown).filter(|held| *held <= most)
        });
        if taken.is_err() {
            budget.uncount(tenant, bytes);
            return Err(budget.refuse("this node has"));
        }
        self.held = wanted;
        Ok(())
    }

    /// Takes this many more bytes even if the budget is used up. Others then have less.
    pub(crate) fn grow_anyway(&mut self, bytes: usize) {
        let budget = &*self.budget.0;
        budget.count(self.tenant.as_deref(), bytes, usize::MAX);
        budget.held.inc_by(bytes as u64);
        self.held += bytes;
    }

    /// Gives all bytes back.
    pub(crate) fn clear(&mut self) {
        let held = std::mem::take(&mut self.held);
        let budget = &*self.budget.0;
        budget.held.dec_by(held as u64);
        budget.uncount(self.tenant.as_deref(), held);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn kind(grown: Result<(), Problem>) -> Option<Kind> {
        grown.err().map(|problem| problem.kind())
    }

    #[test]
    fn what_is_held_is_bounded_and_given_back() {
        let metrics = Arc::default();
        let budget = Budget::new(4 * MIB, "tests", &metrics);
        let (mut one, mut other) = (budget.share(None), budget.share(None));
        assert_eq!(kind(one.grow(2 * MIB)), None);
        assert_eq!(kind(other.grow(2 * MIB)), Some(Kind::Overloaded));
        assert_eq!(kind(other.grow(MIB)), None);
        drop(one);
        assert_eq!(kind(other.grow(2 * MIB)), None);
        assert_eq!(kind(other.grow(1)), Some(Kind::TooLarge));
        let mut third = budget.share(None);
        third.grow_anyway(5 * MIB);
        assert_eq!(kind(budget.share(None).grow(1)), Some(Kind::Overloaded));
        let shown = metrics.encode();
        for line in [
            "tidegate_http_held_bytes{of=\"tests\"} 8388608",
            "tidegate_http_held_refused_total{of=\"tests\",reason=\"overloaded\"} 2",
            "tidegate_http_held_refused_total{of=\"tests\",reason=\"too_large\"} 1",
        ] {
            assert!(shown.lines().any(|found| found == line), "{line}\n{shown}");
        }
        third.clear();
        other.clear();
        assert_eq!(budget.0.held.get(), 0);
    }

    #[test]
    fn room_is_kept_for_what_is_small() {
        let budget = Budget::new(4 * MIB, "tests", &Arc::default());
        let mut large = budget.share(None);
        assert_eq!(kind(large.grow(3 * MIB)), None);
        let mut small = budget.share(None);
        assert_eq!(kind(small.grow(SMALL_BYTES)), None);
        assert_eq!(kind(small.grow(1)), Some(Kind::Overloaded));
    }
    #[test]
    fn a_tenant_has_half_and_a_quarter_of_that_for_what_is_small() {
        let budget = Budget::new(16 * MIB, "tests", &Arc::default());
        let share = |tenant| budget.share(Some(tenant));
        let mut large = [share("a"), share("a"), share("a")];
        for (one, expected) in large.iter_mut().zip([None, None, Some(Kind::Overloaded)]) {
            assert_eq!(kind(one.grow(3 * MIB)), expected);
        }
        assert_eq!(kind(share("a").grow(7 * MIB)), Some(Kind::TooLarge));
        let mut small: Vec<_> = (0..32).map(|_| share("a")).collect();
        assert!(small.iter_mut().all(|one| one.grow(SMALL_BYTES).is_ok()));
        let mut one_more = share("a");
        assert_eq!(kind(one_more.grow(1)), Some(Kind::Overloaded));
        // Others have what is left, and operators all of it.
        let mut other = share("b");
        assert_eq!(kind(other.grow(4 * MIB)), None);
        let mut operator = budget.share(None);
        assert_eq!(kind(operator.grow(MIB)), Some(Kind::Overloaded));
        drop(large);
        assert_eq!(kind(operator.grow(6 * MIB)), None);
        assert_eq!(kind(one_more.grow(1)), None);
        drop((small, other, operator, one_more));
        assert!(budget.0.by_tenant().is_empty() && budget.0.held.get() == 0);
        share("a").grow_anyway(20 * MIB);
        assert!(budget.0.by_tenant().is_empty());
    }
}
