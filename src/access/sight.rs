//! Sight: the subscriptions that a caller can see. What is out of sight does not exist for it.

use bson::{Bson, Document, RawBsonRef, RawDocument, doc, oid::ObjectId};

/// The field of a stored document that names its tenant.
pub(crate) const TENANT: &str = "tenant";
/// The field of a stored subscription that names its owner.
pub(crate) const OWNER: &str = "owner";
/// The field of a stored subscription that names its policy.
pub(crate) const POLICY: &str = "policy";
/// The field of a stored subscription with the claims that its policy uses.
pub(crate) const CLAIMS: &str = "claims";
/// The beginning of the name under which a key owns subscriptions.
pub(crate) const KEY_OWNER: &str = "key:";

/// The tenant and the owner whose subscription it was.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Holder {
    pub(crate) tenant: Option<Box<str>>,
    pub(crate) owner: Option<Box<str>>,
}

impl Holder {
    /// Reads whose a stored subscription is, or was, as a receipt tells.
    pub(crate) fn of(document: &RawDocument) -> Self {
        let text = |field| document.get_str(field).ok().map(Into::into);
        Self {
            tenant: text(TENANT),
            owner: text(OWNER),
        }
    }
}

/// The part of the subscriptions that a caller can see. It is part of every query, and judges every document that
/// does not come from one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sight {
    blind: bool,
    tenant: Option<Box<str>>,
    owner: Option<Box<str>>,
    ids: Option<Box<[Box<str>]>>,
}

impl Sight {
    /// The sight of an operator.
    pub const EVERYTHING: Self = Self {
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

    /// Whether nothing is in sight.
    pub(crate) fn is_nothing(&self) -> bool {
        self.blind
    }

    /// Returns the part of this sight that has this tenant and this owner, as far as they are asked for.
    #[must_use]
    pub(crate) fn narrowed(mut self, tenant: Option<&str>, owner: Option<&str>) -> Self {
        for (own, asked) in [(&mut self.tenant, tenant), (&mut self.owner, owner)] {
            match (own.as_deref(), asked) {
                (Some(own), Some(asked)) if own != asked => return Self::NOTHING,
                (None, Some(asked)) => *own = Some(asked.into()),
                _ => {}
            }
        }
        self
    }

    /// Returns the part of this sight that has one of these ids.
    #[must_use]
    pub(super) fn of_these(mut self, ids: &[Box<str>]) -> Self {
        let seen = ids.iter().filter(|id| self.sees_id(id));
        self.ids = Some(seen.cloned().collect());
        self
    }

    /// Returns the tenant whose documents alone are in sight.
    pub(crate) fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// Whether a stored subscription with this id is in sight.
    pub(crate) fn sees(&self, id: &str, document: &RawDocument) -> bool {
        self.sees_id(id)
            && is_text(document, TENANT, self.tenant.as_deref())
            && is_text(document, OWNER, self.owner.as_deref())
    }

    /// Whether a subscription with this id was in sight.
    pub(crate) fn saw(&self, id: &str, holder: &Holder) -> bool {
        let is = |wanted: &Option<Box<str>>, was| wanted.is_none() || wanted == was;
        self.sees_id(id) && is(&self.tenant, &holder.tenant) && is(&self.owner, &holder.owner)
    }

    /// Whether a subscription of this id can be in sight.
    pub(crate) fn sees_id(&self, id: &str) -> bool {
        let ids = self.ids.as_deref();
        !self.blind && ids.is_none_or(|ids| ids.iter().any(|seen| **seen == *id))
    }

    /// Returns a query for the part of its answer that is in sight. The answer is exact: a text within an array is no
    /// tenant, although a server would find it.
    pub(crate) fn within(&self, query: Document) -> Document {
        if self.is_everything() {
            return query;
        }
        doc! {"$and": [query, self.conditions()]}
    }

    fn conditions(&self) -> Document {
        let mut conditions = Document::new();
        for (field, text) in [(TENANT, &self.tenant), (OWNER, &self.owner)] {
            if let Some(text) = text {
                let scalar = doc! {"$eq": &**text, "$type": "string", "$not": {"$type": "array"}};
                conditions.insert(field, scalar);
            }
        }
        if self.blind {
            conditions.insert("_id", doc! {"$in": []});
        } else if let Some(ids) = &self.ids {
            let ids: Vec<Bson> = ids.iter().flat_map(|id| stored_ids(id)).collect();
            conditions.insert("_id", doc! {"$in": ids});
        }
        conditions
    }
}

/// Returns the values of `_id` that stand for an id: its text, and the `ObjectId` of these digits.
fn stored_ids(id: &str) -> impl Iterator<Item = Bson> {
    let digits = ObjectId::parse_str(id).ok();
    let digits = digits.filter(|digits| digits.to_hex() == id);
    [Some(Bson::from(id)), digits.map(Bson::ObjectId)]
        .into_iter()
        .flatten()
}

fn is_text(document: &RawDocument, field: &str, wanted: Option<&str>) -> bool {
    let Some(wanted) = wanted else { return true };
    matches!(document.get(field), Ok(Some(RawBsonRef::String(text))) if text == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Bson, RawDocumentBuf};

    fn sees(sight: &Sight, document: &Document) -> bool {
        let document = RawDocumentBuf::try_from(document).unwrap();
        let sees = sight.sees("a", &document);
        assert_eq!(sight.saw("a", &Holder::of(&document)), sees);
        sees
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
    fn a_sight_is_narrowed_and_never_widened() {
        let acme = Sight::new(Some("acme".into()), None, None);
        assert_eq!(acme.clone().narrowed(Some("acme"), None), acme);
        assert!(acme.clone().narrowed(Some("other"), None).is_nothing());
        let own = acme.narrowed(None, Some("key:k"));
        assert!(sees(&own, &doc! {"tenant": "acme", "owner": "key:k"}));
        assert!(!sees(&own, &doc! {"tenant": "acme"}));
        let asked = Sight::EVERYTHING.narrowed(Some("acme"), None);
        assert!(!sees(&asked, &doc! {"tenant": "other"}));
        assert!(Sight::NOTHING.narrowed(Some("acme"), None).is_nothing());
    }

    #[test]
    fn a_list_of_ids_narrows_further() {
        let sight = Sight::new(None, None, Some(["b".into()].into()));
        assert!(!sees(&sight, &doc! {}));
        assert!(sight.sees("b", &RawDocumentBuf::new()));
        assert!(!sight.is_everything() && Sight::EVERYTHING.is_everything());
        let both = sight.of_these(&["a".into(), "b".into()]);
        assert!(both.sees_id("b") && !both.sees_id("a"));
        let own = Sight::new(None, Some("key:k".into()), None).of_these(&["a".into()]);
        assert!(sees(&own, &doc! {"owner": "key:k"}) && !sees(&own, &doc! {"owner": "key:o"}));
        assert!(Sight::NOTHING.of_these(&["a".into()]).is_nothing());
    }
}
