//! Binding: whose a subscription is, and by which policy and claims it is bound, as it is stored.

use bson::{Bson, Document, RawBsonRef, RawDocument};

use super::{Caller, OWNER, TENANT};

/// The field of a stored subscription that names its policy.
pub(crate) const POLICY: &str = "policy";
/// The field of a stored subscription with the claims that its policy uses.
pub(crate) const CLAIMS: &str = "claims";

/// The owner, the tenant, the policy and the claims of a subscription.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct Binding {
    owner: Option<Bson>,
    tenant: Option<Bson>,
    policy: Option<Bson>,
    claims: Option<Bson>,
}

impl Binding {
    /// Returns the binding of what a caller creates. A caller who need not prove itself binds nothing.
    pub(crate) fn of(caller: &Caller) -> Self {
        let text = |text: &Option<Box<str>>| text.as_deref().map(Bson::from);
        let claims = caller.claims.to_document();
        Self {
            owner: text(&caller.owner),
            tenant: text(&caller.tenant),
            policy: text(&caller.policy),
            claims: (!claims.is_empty()).then(|| claims.into()),
        }
    }

    /// Returns the binding of what a caller replaces. A tenant who replaces its own binds it again, since its claims may
    /// have changed; everybody else leaves it as it is.
    pub(crate) fn of_replacing(caller: &Caller, current: &RawDocument) -> Self {
        let Some(owner) = caller.owner.as_deref() else {
            // As with any other field, an owner that is not named goes.
            return Self {
                owner: None,
                ..Self::stored(current)
            };
        };
        let owns = current.get_str(OWNER).is_ok_and(|stored| stored == owner);
        if owns && !caller.is_operator() {
            Self::of(caller)
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
    use crate::access::{CallerKind, ClaimValue, Claims};
    use bson::{RawDocumentBuf, doc};

    fn caller(tenant: Option<&str>) -> Caller {
        let mut claims = Claims::default();
        claims.insert("region", ClaimValue::String("eu".into()));
        Caller {
            kind: CallerKind::Key,
            owner: Some("key:k".into()),
            tenant: tenant.map(Into::into),
            policy: Some("default".into()),
            claims,
            ..Caller::anybody()
        }
    }

    fn replaced(caller: &Caller, current: &Document) -> Binding {
        Binding::of_replacing(caller, &RawDocumentBuf::try_from(current).unwrap())
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
        assert_eq!(replaced(&tenant, &stored), Binding::of(&tenant));
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
    fn whoever_need_not_prove_itself_binds_nothing() {
        assert_eq!(Binding::of(&Caller::anybody()), Binding::default());
    }
}
