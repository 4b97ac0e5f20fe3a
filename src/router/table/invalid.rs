//! The keys of invalid subscriptions, in order: of all, and of each tenant.
//!
//! A tenant's question takes no time that depends on what others have.

use std::{collections::BTreeSet, ops::Bound};

use crate::{access::Sight, subscription::DocumentKey};

/// The keys of all invalid subscriptions, of those set aside too.
#[derive(Debug, Default)]
pub(super) struct InvalidKeys {
    all: BTreeSet<DocumentKey>,
    of_tenants: BTreeSet<(Box<str>, DocumentKey)>,
}

impl InvalidKeys {
    /// Adds a key, and the tenant of its document, if it has one.
    pub(super) fn insert(&mut self, key: DocumentKey, tenant: Option<&str>) {
        if let Some(tenant) = tenant {
            self.of_tenants.insert((tenant.into(), key.clone()));
        }
        self.all.insert(key);
    }

    /// Removes a key, which was added with this tenant.
    pub(super) fn remove(&mut self, key: &DocumentKey, tenant: Option<&str>) {
        if let Some(tenant) = tenant {
            self.of_tenants.remove(&(tenant.into(), key.clone()));
        }
        self.all.remove(key);
    }

    /// Returns the keys that a tenant may ask about, in order, after one, at most `limit`. The documents decide about
    /// the rest of a sight.
    pub(super) fn after(
        &self,
        sight: &Sight,
        after: Option<&DocumentKey>,
        limit: usize,
    ) -> Vec<DocumentKey> {
        if sight.is_nothing() {
            return Vec::new();
        }
        let Some(tenant) = sight.tenant() else {
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let after = self.all.range((from, Bound::Unbounded));
            return after.take(limit).cloned().collect();
        };
        let from = match after {
            Some(after) => Bound::Excluded((tenant.into(), after.clone())),
            None => Bound::Included((tenant.into(), DocumentKey::Text("".into()))),
        };
        let after = self.of_tenants.range((from, Bound::Unbounded));
        let of_it = after.take_while(|(of, _)| **of == *tenant);
        of_it.take(limit).map(|(_, key)| key.clone()).collect()
    }
}
