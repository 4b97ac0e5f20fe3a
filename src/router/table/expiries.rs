//! The times at which subscriptions expire.

use std::collections::BTreeSet;

use bson::DateTime;

use super::Slot;

/// The subscriptions that expire, the next one first. Most never do, and are not here.
#[derive(Debug)]
pub(super) struct Expiries {
    order: BTreeSet<(DateTime, Slot)>,
    /// The time of the first one, kept in place because every event is compared with it.
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
    /// Notes that a subscription expires at a time.
    pub(super) fn insert(&mut self, slot: Slot, at: Option<DateTime>) {
        if let Some(at) = at {
            self.order.insert((at, slot));
            self.next = self.next.min(at);
        }
    }

    /// Forgets that it does.
    pub(super) fn remove(&mut self, slot: Slot, at: Option<DateTime>) {
        if let Some(at) = at {
            self.order.remove(&(at, slot));
            self.next = self.next().unwrap_or(DateTime::MAX);
        }
    }

    /// Returns the time at which the next subscription expires.
    pub(super) fn next(&self) -> Option<DateTime> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Whether a subscription that is still here had expired at a commit.
    pub(super) fn any_before(&self, committed: DateTime) -> bool {
        self.next < committed
    }
}
