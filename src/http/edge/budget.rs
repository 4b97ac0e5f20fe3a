//! A budget of bytes that requests share: one for bodies and the documents made from them, one for answers.

use std::sync::{Arc, atomic::Ordering};

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
    most: usize,
    /// The kind of bytes, as it is named in refusals and metrics.
    of: &'static str,
    metrics: Arc<Metrics>,
}

/// The bytes that one request holds. They are given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    held: usize,
}

impl Budget {
    /// Returns a budget of `most` bytes, counted in `metrics`.
    pub(crate) fn new(most: usize, of: &'static str, metrics: &Arc<Metrics>) -> Self {
        Self(Arc::new(Inner {
            held: metrics.http.held(of),
            most,
            of,
            metrics: Arc::clone(metrics),
        }))
    }

    /// Returns the most that one share may hold.
    fn most_of_one(&self) -> usize {
        self.0.most / 4 * 3
    }

    /// Returns an empty share.
    pub(crate) fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            held: 0,
        }
    }
}

impl Share {
    /// Takes this many more bytes, or refuses the request if there are not enough.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let Inner {
            held,
            most,
            of,
            metrics,
        } = &*self.budget.0;
        let wanted = self.held.saturating_add(bytes);
        let most = if wanted <= SMALL_BYTES {
            *most
        } else {
            self.budget.most_of_one()
        };
        if wanted > most {
            metrics.http.held_refused(of, "too_large");
            return Err(Problem::new(
                Kind::TooLarge,
                format!("this takes more than the {most} bytes of {of} that one request may hold"),
            ));
        }
        let (grown, most) = (bytes as u64, most as u64);
        let taken = held
            .inner()
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                held.checked_add(grown).filter(|held| *held <= most)
            });
        if taken.is_err() {
            metrics.http.held_refused(of, "overloaded");
            return Err(Problem::new(
                Kind::Overloaded,
                format!("this node has as many bytes of {of} under way as it allows; try again"),
            ));
        }
        self.held = wanted;
        Ok(())
    }

    /// Takes this many more bytes even if the budget is used up. Others then have less.
    pub(crate) fn grow_anyway(&mut self, bytes: usize) {
        self.budget.0.held.inc_by(bytes as u64);
        self.held += bytes;
    }

    /// Gives all bytes back.
    pub(crate) fn clear(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.budget.0.held.dec_by(held as u64);
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
        let (mut one, mut other) = (budget.share(), budget.share());
        assert_eq!(kind(one.grow(2 * MIB)), None);
        assert_eq!(kind(other.grow(2 * MIB)), Some(Kind::Overloaded));
        assert_eq!(kind(other.grow(MIB)), None);
        drop(one);
        assert_eq!(kind(other.grow(2 * MIB)), None);
        assert_eq!(kind(other.grow(1)), Some(Kind::TooLarge));
        let mut third = budget.share();
        third.grow_anyway(5 * MIB);
        assert_eq!(kind(budget.share().grow(1)), Some(Kind::Overloaded));
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
        let mut large = budget.share();
        assert_eq!(kind(large.grow(3 * MIB)), None);
        let mut small = budget.share();
        assert_eq!(kind(small.grow(SMALL_BYTES)), None);
        assert_eq!(kind(small.grow(1)), Some(Kind::Overloaded));
    }
}
