//! Scopes: the rights that a credential can give.

use std::fmt;

/// A right that a credential can give.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Scope {
    /// Creating subscriptions; seeing, changing and deleting one's own.
    SubscriptionsOwn,
    /// Seeing all subscriptions of the tenant.
    SubscriptionsRead,
    /// Creating, changing and deleting all subscriptions of the tenant.
    SubscriptionsWrite,
    /// Receiving events.
    EventsRead,
    /// Publishing events.
    EventsPublish,
    /// Making and revoking keys of the tenant.
    KeysWrite,
    /// Reading metrics, nodes, and the details of health.
    Metrics,
    /// Everything, of all tenants. Only for operators.
    Admin,
}

impl Scope {
    /// Every scope.
    pub(crate) const ALL: [Self; 8] = [
        Self::SubscriptionsOwn,
        Self::SubscriptionsRead,
        Self::SubscriptionsWrite,
        Self::EventsRead,
        Self::EventsPublish,
        Self::KeysWrite,
        Self::Metrics,
        Self::Admin,
    ];

    /// Returns the scope as credentials name it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::SubscriptionsOwn => "subscriptions:own",
            Self::SubscriptionsRead => "subscriptions:read",
            Self::SubscriptionsWrite => "subscriptions:write",
            Self::EventsRead => "events:read",
            Self::EventsPublish => "events:publish",
            Self::KeysWrite => "keys:write",
            Self::Metrics => "metrics",
            Self::Admin => "admin",
        }
    }

    /// Returns the scope of this name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Scopes(u8);

impl Scopes {
    /// No scope.
    pub(crate) const NONE: Self = Self(0);
    /// Every scope.
    pub(crate) const ALL: Self = Self(u8::MAX);

    /// Returns the set of these scopes.
    #[cfg(test)]
    pub(crate) const fn of(scopes: &[Scope]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < scopes.len() {
            bits |= 1 << scopes[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    /// Whether a scope is in the set. `admin` holds every other scope.
    pub(crate) const fn has(self, scope: Scope) -> bool {
        const ADMIN: u8 = 1 << Scope::Admin as u8;
        self.0 & (ADMIN | 1 << scope as u8) != 0
    }

    /// Whether every scope of another set is in this one.
    pub(crate) fn cover(self, other: Self) -> bool {
        other.iter().all(|scope| self.has(scope))
    }

    /// Returns the scopes that both sets hold.
    pub(crate) fn and(self, other: Self) -> Self {
        let both = Scope::ALL
            .into_iter()
            .filter(|scope| self.has(*scope) && other.has(*scope));
        both.collect()
    }

    /// Returns the set without a scope.
    pub(crate) const fn without(self, scope: Scope) -> Self {
        Self(self.0 & !(1 << scope as u8))
    }

    /// Returns the scopes that are named in the set, in the order of [`Scope::ALL`].
    pub(crate) fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL
            .into_iter()
            .filter(move |scope| self.0 & (1 << *scope as u8) != 0)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let add = |bits, scope| bits | 1 << scope as u8;
        Self(scopes.into_iter().fold(0, add))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.iter().map(Scope::as_str))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_has_one_name() {
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
            assert!(Scopes::ALL.has(scope));
            assert!(!Scopes::NONE.has(scope));
        }
        assert_eq!(Scope::parse("subscriptions"), None);
        // The settings of an issuer take the same names.
        assert_eq!(Scope::ALL.map(Scope::as_str), *crate::config::SCOPES);
    }

    #[test]
    fn admin_holds_every_other_scope_and_no_other_scope_does() {
        let admin = Scopes::of(&[Scope::Admin]);
        assert!(Scope::ALL.into_iter().all(|scope| admin.has(scope)));
        assert!(admin.cover(Scopes::ALL));
        let others: Scopes = Scope::ALL
            .into_iter()
            .filter(|scope| *scope != Scope::Admin)
            .collect();
        assert!(!others.has(Scope::Admin) && !others.cover(admin));
        assert_eq!(admin.iter().count(), 1);
    }

    #[test]
    fn a_ceiling_lowers_what_is_asked_for() {
        let ceiling = Scopes::of(&[Scope::EventsRead, Scope::SubscriptionsOwn]);
        let asked = Scopes::of(&[Scope::EventsRead, Scope::EventsPublish]);
        assert_eq!(asked.and(ceiling), Scopes::of(&[Scope::EventsRead]));
        let admin = Scopes::of(&[Scope::Admin]);
        assert_eq!(admin.and(ceiling), ceiling);
        assert_eq!(asked.and(admin), asked);
    }
}
