//! Binding: whose a subscription is, and by which policy and claims it is bound, as it is stored.

use bson::{Bson, Document, RawBsonRef, RawDocument};

use super::{CLAIMS, Caller, OWNER, POLICY, Policies, TENANT, policy_of};

/// The owner, the tenant, the policy and the claims of a subscription.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct Binding {
    owner: Option<Bson>,
    tenant: Option<Bson>,
    policy: Option<Bson>,
    claims: Option<Bson>,
}

impl Binding {
    /// Returns the binding of what a caller creates: to its policy, and to the claims that the policy names. A caller who
    /// need not prove itself binds nothing.
    pub(crate) fn of(caller: &Caller, policies: &Policies) -> Self {
        let text = |text: &Option<Box<str>>| text.as_deref().map(Bson::from);
        let claims = policies.claims_to_bind(caller).to_document();
        Self {
            owner: text(&caller.owner),
            tenant: text(&caller.tenant),
            policy: policy_of(caller).map(Bson::from),
            claims: (!claims.is_empty()).then(|| claims.into()),
        }
    }

    /// Returns the binding of what a caller replaces. A tenant who replaces its own binds it again, since its claims may
    /// have changed; everybody else leaves it as it is.
    pub(crate) fn of_replacing(
        caller: &Caller,
        current: &RawDocument,
        policies: &Policies,
    ) -> Self {
        let changed = Self::of_changing(caller, current, policies);
        match caller.owner {
            Some(_) => changed,
            // As with any other field, an owner that is not named goes.
            None => Self {
                owner: None,
                ..changed
            },
        }
    }

    /// Returns the binding of what a caller changes in part: the same, but that an owner who is not named stays.
    pub(crate) fn of_changing(caller: &Caller, current: &RawDocument, policies: &Policies) -> Self {
        let owns = |owner: &str| current.get_str(OWNER).is_ok_and(|stored| stored == owner);
        if caller.owner.as_deref().is_some_and(owns) && caller.is_narrowed() {
            Self::of(caller, policies)
        } else {
            Self::stored(current)
        }
    }

    /// Returns the stored binding. What is of a wrong type is left out.
    fn stored(document: &RawDocument) -> Self {
        let text = |field| match document.get(field) {
            Ok(Some(RawBsonRef::String(text))) => Some(text.into()),
            _ => None,
        };
        let claims = document.get_document(CLAIMS).ok();
        let claims = claims.and_then(|claims| Document::try_from(claims).ok());
        Self {
            owner: text(OWNER),
            tenant: text(TENANT),
            policy: text(POLICY),
            claims: claims.map(Bson::Document),
        }
    }

    /// Leaves the owner alone. Whoever names a tenant, a policy or claims names all of them.
    #[must_use]
    pub(crate) fn owner_only(self) -> Self {
        Self {
            owner: self.owner,
            ..Self::default()
        }
    }

    /// Returns the fields that have another value in a document: those to set, and those to take away.
    pub(crate) fn differences(&self, current: &RawDocument) -> (Document, Vec<&'static str>) {
        let stored = Self::stored(current);
        let (mut set, mut unset) = (Document::new(), Vec::new());
        for field in [OWNER, TENANT, POLICY, CLAIMS] {
            match (self.value(field), stored.value(field)) {
                (new, old) if new == old => {}
                (Some(new), _) => drop(set.insert(field, new.clone())),
                (None, _) => unset.push(field),
            }
        }
        (set, unset)
    }

    /// Returns the value of a field; `None` if it has none, or is none of the binding's.
    pub(crate) fn value(&self, field: &str) -> Option<&Bson> {
        match field {
            OWNER => self.owner.as_ref(),
            TENANT => self.tenant.as_ref(),
            POLICY => self.policy.as_ref(),
            CLAIMS => self.claims.as_ref(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{CallerKind, ClaimValue, Claims, Credential};
    use bson::{RawDocumentBuf, doc};

    fn caller(tenant: Option<&str>) -> Caller {
        let mut claims = Claims::default();
        claims.insert("region", ClaimValue::String("eu".into()));
        Caller {
            kind: CallerKind::Key,
            owner: Some("key:k".into()),
            credential: Credential::Key {
                id: "k".into(),
                hash: [0; 32],
                not_after: None,
            },
            tenant: tenant.map(Into::into),
            policy: Some("default".into()),
            claims,
            ..Caller::anybody()
        }
    }

    fn policies() -> Policies {
        let read = doc! {"_id": "default", "read": {"region": "$claims.region"}};
        let mut policies = Policies::new(true);
        policies.store(&RawDocumentBuf::try_from(&read).unwrap());
        policies
    }

    fn replaced(caller: &Caller, current: &Document) -> Binding {
        Binding::of_replacing(
            caller,
            &RawDocumentBuf::try_from(current).unwrap(),
            &policies(),
        )
    }

    #[test]
    fn a_tenant_that_replaces_its_own_binds_it_again_and_nobody_else_does() {
        let stored = doc! {"owner": "key:k", "tenant": "acme", "policy": "old"};
        let kept = Binding {
            owner: Some("key:k".into()),
            tenant: Some("acme".into()),
            policy: Some("old".into()),
            claims: None,
        };
        let tenant = caller(Some("acme"));
        assert_eq!(
            replaced(&tenant, &stored),
            Binding::of(&tenant, &policies())
        );
        assert_eq!(replaced(&caller(None), &stored), kept);
        let mut others = stored.clone();
        others.insert("owner", "key:other");
        let found = replaced(&tenant, &others);
        assert_eq!(found.value("policy"), Some(&"old".into()));
        assert_eq!(found.value("owner"), Some(&"key:other".into()));
        let anybody = replaced(&Caller::anybody(), &stored);
        assert_eq!(anybody.value("owner"), None);
        assert_eq!(anybody.value("tenant"), Some(&"acme".into()));
    }

    #[test]
    fn the_claims_that_the_policy_names_are_bound_and_no_others() {
        let mut tenant = caller(Some("acme"));
        tenant
            .claims
            .insert("device", ClaimValue::String("d".into()));
        let bound = Binding::of(&tenant, &policies());
        assert_eq!(bound.value(CLAIMS), Some(&doc! {"region": "eu"}.into()));
        let (set, unset) = bound.differences(&RawDocumentBuf::new());
        assert_eq!((set.len(), unset.len()), (4, 0));
        let stored = RawDocumentBuf::try_from(&set).unwrap();
        assert_eq!(bound.differences(&stored), (Document::new(), vec![]));
    }

    #[test]
    fn whoever_need_not_prove_itself_binds_nothing() {
        assert_eq!(
            Binding::of(&Caller::anybody(), &policies()),
            Binding::default()
        );
    }
}
