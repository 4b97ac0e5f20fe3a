//! Sight: the subscriptions that a caller can see. What is out of sight does not exist for it.

use bson::{RawBsonRef, RawDocument};

/// The field of a stored document that names its tenant.
pub(crate) const TENANT: &str = "tenant";
/// The field of a stored subscription that names its owner.
pub(crate) const OWNER: &str = "owner";

/// The part of the subscriptions that a caller can see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sight {
    blind: bool,
    tenant: Option<Box<str>>,
    owner: Option<Box<str>>,
    ids: Option<Box<[Box<str>]>>,
}

impl Sight {
    /// The sight of an operator.
    pub(crate) const EVERYTHING: Self = Self {
        blind: false,
        tenant: None,
        owner: None,
        ids: None,
    };

    /// The sight of a caller who sees no subscription.
    pub(crate) const NOTHING: Self = Self {
        blind: true,
        ..Self::EVERYTHING
    };

    /// Returns the sight of what has this tenant, this owner, and one of these ids; `None` asks for none of them.
    pub(super) fn new(
        tenant: Option<Box<str>>,
        owner: Option<Box<str>>,
        ids: Option<Box<[Box<str>]>>,
    ) -> Self {
        Self {
            blind: false,
            tenant,
            owner,
            ids,
        }
    }

    /// Whether everything is in sight.
    pub(crate) fn is_everything(&self) -> bool {
        *self == Self::EVERYTHING
    }

    /// Whether a stored subscription with this id is in sight.
    pub(crate) fn sees(&self, id: &str, document: &RawDocument) -> bool {
        self.sees_id(id)
            && is_text(document, TENANT, self.tenant.as_deref())
            && is_text(document, OWNER, self.owner.as_deref())
    }

    /// Whether a subscription of this id can be in sight.
    pub(crate) fn sees_id(&self, id: &str) -> bool {
        let ids = self.ids.as_deref();
        !self.blind && ids.is_none_or(|ids| ids.iter().any(|seen| **seen == *id))
    }
}

fn is_text(document: &RawDocument, field: &str, wanted: Option<&str>) -> bool {
    let Some(wanted) = wanted else { return true };
    matches!(document.get(field), Ok(Some(RawBsonRef::String(text))) if text == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Bson, Document, RawDocumentBuf, doc};

    fn sees(sight: &Sight, document: &Document) -> bool {
        sight.sees("a", &RawDocumentBuf::try_from(document).unwrap())
    }

    #[test]
    fn a_tenant_sees_what_names_it_and_nothing_else() {
        let sight = Sight::new(Some("acme".into()), None, None);
        assert!(sees(&sight, &doc! {"tenant": "acme", "owner": 5}));
        for other in [
            doc! {},
            doc! {"tenant": Bson::Null},
            doc! {"tenant": "other"},
            doc! {"tenant": ["acme"]},
            doc! {"tenant": {"a": "acme"}},
        ] {
            assert!(!sees(&sight, &other), "{other}");
            assert!(sees(&Sight::EVERYTHING, &other), "{other}");
        }
    }

    #[test]
    fn an_owner_sees_what_it_owns_within_its_tenant() {
        let sight = Sight::new(Some("acme".into()), Some("key:k".into()), None);
        assert!(sees(&sight, &doc! {"tenant": "acme", "owner": "key:k"}));
        assert!(!sees(
            &sight,
            &doc! {"tenant": "acme", "owner": "key:other"}
        ));
        assert!(!sees(&sight, &doc! {"tenant": "other", "owner": "key:k"}));
        assert!(!sees(&sight, &doc! {"owner": "key:k"}));
    }

    #[test]
    fn a_list_of_ids_narrows_further() {
        let sight = Sight::new(None, None, Some(["b".into()].into()));
        assert!(!sees(&sight, &doc! {}));
        assert!(sight.sees("b", &RawDocumentBuf::new()));
        assert!(!sight.is_everything() && Sight::EVERYTHING.is_everything());
    }
}
