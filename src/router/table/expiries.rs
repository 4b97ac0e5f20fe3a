//! When subscriptions expire.

use std::collections::BTreeSet;

use bson::DateTime;

use super::Slot;

/// The subscriptions that expire, the next one first. Most subscriptions never do, and are not here.
#[derive(Debug)]
pub(super) struct Expiries {
    order: BTreeSet<(DateTime, Slot)>,
    /// The first of them, in place: each event is held against it.
    next: DateTime,
}

impl Default for Expiries {
    fn default() -> Self {
        Self {
            order: BTreeSet::new(),
            next: DateTime::MAX,
        }
    }
}

impl Expiries {
    /// A subscription expires then.
    pub(super) fn insert(&mut self, slot: Slot, at: Option<DateTime>) {
        if let Some(at) = at {
            self.order.insert((at, slot));
            self.next = self.next.min(at);
        }
    }

    /// It does not any more.
    pub(super) fn remove(&mut self, slot: Slot, at: Option<DateTime>) {
        if let Some(at) = at {
            self.order.remove(&(at, slot));
            self.next = self.next().unwrap_or(DateTime::MAX);
        }
    }

    /// When the next one expires.
    pub(super) fn next(&self) -> Option<DateTime> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Whether one that is still here has expired at a commit.
    pub(super) fn any_before(&self, committed: DateTime) -> bool {
        self.next < committed
    }
}
