//! The numbers of subscriptions of each tenant, and of each key.

use std::collections::HashMap;

use crate::{
    access::{KEY_OWNER, OWNER},
    subscription::Subscription,
};

/// Those whose subscriptions are counted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Counted {
    Tenant(Box<str>),
    /// The owner's name of a key. Others have no limit of their own.
    Owner(Box<str>),
}

/// The numbers of subscriptions of each tenant, and of each key.
#[derive(Clone, Default, Debug)]
pub(super) struct Holdings {
    /// False if nobody has a tenant: nothing is counted.
    counts: bool,
    of: HashMap<Counted, usize>,
}

impl Holdings {
    /// Returns empty ones.
    pub(super) fn new(counts: bool) -> Self {
        Self {
            counts,
            of: HashMap::new(),
        }
    }

    /// Returns the number of subscriptions of a tenant or a key.
    pub(super) fn of(&self, counted: &Counted) -> usize {
        self.of.get(counted).copied().unwrap_or_default()
    }

    pub(super) fn add(&mut self, subscription: &Subscription) {
        for counted in self.counted(subscription).into_iter().flatten() {
            *self.of.entry(counted).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, subscription: &Subscription) {
        for counted in self.counted(subscription).into_iter().flatten() {
            if let Some(count) = self.of.get_mut(&counted) {
                *count -= 1;
                if *count == 0 {
                    self.of.remove(&counted);
                }
            }
        }
    }

    fn counted(&self, subscription: &Subscription) -> [Option<Counted>; 2] {
        if !self.counts {
            return [None, None];
        }
        let owner = subscription.document.get_str(OWNER).ok();
        let owner = owner.filter(|owner| owner.starts_with(KEY_OWNER));
        [
            subscription
                .tenant()
                .map(|name| Counted::Tenant(name.into())),
            owner.map(|name| Counted::Owner(name.into())),
        ]
    }
}
