//! The number of sessions and of channels of each tenant.

use std::collections::HashMap;

use crate::access::Caller;

/// The number of things of each tenant. Those of operators are not in it.
#[derive(Default, Debug)]
pub(super) struct ByTenant(HashMap<Box<str>, usize>);

impl ByTenant {
    /// Adds one of a caller's.
    pub(super) fn insert(&mut self, caller: &Caller) {
        if let Some(tenant) = &caller.tenant {
            *self.0.entry(tenant.clone()).or_default() += 1;
        }
    }

    /// Removes one.
    pub(super) fn remove(&mut self, caller: &Caller) {
        let Some(tenant) = &caller.tenant else { return };
        if let Some(count) = self.0.get_mut(tenant) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(tenant);
            }
        }
    }

    /// Returns the number of a tenant's.
    pub(super) fn count(&self, tenant: &str) -> usize {
        self.0.get(tenant).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenant_is_counted_until_its_last_session_is_gone() {
        let caller = |tenant: Option<&str>| Caller {
            tenant: tenant.map(Into::into),
            ..Caller::anybody()
        };
        let mut all = ByTenant::default();
        for tenant in [Some("a"), Some("b"), None, Some("a")] {
            all.insert(&caller(tenant));
        }
        assert_eq!((all.count("a"), all.count("b"), all.count("c")), (2, 1, 0));
        for tenant in [Some("a"), None, Some("a"), Some("b")] {
            all.remove(&caller(tenant));
        }
        assert!(all.0.is_empty());
    }
}
