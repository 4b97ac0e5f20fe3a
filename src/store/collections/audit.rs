//! The collection `audit`: who did what to keys, policies, revocations and subscriptions.
//!
//! `{_id, at, actor: {kind, id, tenant, remote}, act, target, tenant, outcome, request, changed}`. Each entry is written in
//! one [`transaction`] with its act, so there is none without the other. It names fields and never holds their values.

mod transaction;

use bson::{Bson, DateTime, Document, RawBsonRef, RawDocument, RawDocumentBuf, doc};

use crate::{
    access::TENANT,
    store::{AUDIT, Store, StoreError, client::read::collect},
    subscription::DocumentKey,
};

/// Fields that say what the entry says itself, or that change with every act.
const SAID: [&str; 5] = ["_id", "createdAt", "createdBy", "updatedAt", "revision"];

/// The acts that are audited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    KeyCreate,
    KeyUpdate,
    KeyDelete,
    PolicyCreate,
    PolicyReplace,
    PolicyDelete,
    RevocationCreate,
    RevocationDelete,
    SubscriptionCreate,
    SubscriptionReplace,
    SubscriptionChange,
    SubscriptionDelete,
}

impl Act {
    /// Returns the act as it is stored and shown.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::KeyCreate => "key.create",
            Self::KeyUpdate => "key.update",
            Self::KeyDelete => "key.delete",
            Self::PolicyCreate => "policy.create",
            Self::PolicyReplace => "policy.replace",
            Self::PolicyDelete => "policy.delete",
            Self::RevocationCreate => "revocation.create",
            Self::RevocationDelete => "revocation.delete",
            Self::SubscriptionCreate => "subscription.create",
            Self::SubscriptionReplace => "subscription.replace",
            Self::SubscriptionChange => "subscription.change",
            Self::SubscriptionDelete => "subscription.delete",
        }
    }
}

/// The one who acts, as the audit tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Actor {
    /// The way in which it proved itself, or `operator`: someone who can write to the database.
    pub kind: &'static str,
    /// The id of its key, or the issuer and subject of its token.
    pub id: Option<Box<str>>,
    /// Its tenant; operators have none.
    pub tenant: Option<Box<str>>,
    /// The client's address.
    pub remote: Option<String>,
    /// The id of the request.
    pub request: Option<String>,
}

impl Actor {
    /// Returns someone who can write to the database.
    pub(crate) const fn operator() -> Self {
        Self {
            kind: "operator",
            id: None,
            tenant: None,
            remote: None,
            request: None,
        }
    }
}

/// A query for entries of the audit.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct AuditQuery {
    pub act: Option<String>,
    /// The actor's id.
    pub actor: Option<String>,
    pub target: Option<String>,
    /// The tenant whose right it is.
    pub tenant: Option<String>,
    /// Only entries from then on.
    pub since: Option<DateTime>,
    /// Only entries before.
    pub until: Option<DateTime>,
    /// The time and the `_id` of the entry after which the page begins.
    pub after: Option<(DateTime, Bson)>,
    /// The most entries on the page.
    pub limit: usize,
}

/// An act on one document, as its entry tells.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub by: &'a Actor,
    pub act: Act,
    /// The names of the fields that it sets.
    pub changed: Vec<String>,
}

impl Store {
    /// Reads one page of the audit, newest first.
    pub(crate) async fn list_audit(
        &self,
        query: &AuditQuery,
    ) -> Result<Vec<RawDocumentBuf>, StoreError> {
        let audit = self.database().collection::<RawDocumentBuf>(AUDIT);
        let find = audit
            .find(query.to_document())
            .sort(doc! {"at": -1, "_id": -1})
            .limit(i64::try_from(query.limit.max(1)).unwrap_or(i64::MAX))
            .max_time(self.server_limit());
        self.with_deadline(async { collect(find.batch().await?).await })
            .await
    }
}

impl AuditQuery {
    fn to_document(&self) -> Document {
        let mut at = doc! {"$type": "date"};
        if let Some(since) = self.since {
            at.insert("$gte", since);
        }
        if let Some(until) = self.until {
            at.insert("$lt", until);
        }
        let mut all = doc! {"at": at};
        for (field, text) in [
            ("act", &self.act),
            ("actor.id", &self.actor),
            ("target", &self.target),
            ("tenant", &self.tenant),
        ] {
            if let Some(text) = text {
                all.insert(field, doc! {"$eq": text});
            }
        }
        if let Some((at, id)) = &self.after {
            let before = doc! {"$lt": ["$_id", {"$literal": id.clone()}]};
            let rest = [doc! {"at": {"$lt": at}}, doc! {"at": at, "$expr": before}];
            all.insert(
                "$and",
                [doc! {"at": {"$lte": at}}, doc! {"$or": rest.to_vec()}].to_vec(),
            );
        }
        all
    }
}

impl Told<'_> {
    /// Returns the entry of an act on this document.
    fn entry(self, document: &RawDocument) -> Document {
        let text = |text: &Option<Box<str>>| Bson::from(text.as_deref());
        doc! {
            "_id": format!("aud_{}", uuid::Uuid::now_v7().simple()),
            "at": DateTime::now(),
            "actor": {
                "kind": self.by.kind,
                "id": text(&self.by.id),
                "tenant": text(&self.by.tenant),
                "remote": self.by.remote.as_deref(),
            },
            "act": self.act.as_str(),
            "target": DocumentKey::of(document).to_string(),
            "tenant": document.get_str(TENANT).ok(),
            "outcome": "ok",
            "request": self.by.request.as_deref(),
            "changed": self.changed,
        }
    }
}

/// Returns the names of these fields, but for those that every entry says itself.
pub(super) fn names_of<'n>(fields: impl Iterator<Item = &'n String>) -> Vec<String> {
    let told = fields.filter(|name| !SAID.contains(&name.as_str()));
    told.cloned().collect()
}

/// Returns the names of the fields that are not in both documents with one value.
pub(super) fn changed_names(before: Option<&RawDocument>, after: &RawDocument) -> Vec<String> {
    let fields = |document: &RawDocument| -> Vec<(String, Bson)> {
        let all = document.iter().flatten();
        let owned = |(name, value): (_, RawBsonRef<'_>)| Some((name, Bson::try_from(value).ok()?));
        all.map(|(name, value)| (name.as_str().to_owned(), value))
            .filter_map(owned)
            .collect()
    };
    let before = before.map(fields).unwrap_or_default();
    let after = fields(after);
    let is_new = |field: &&(String, Bson)| !before.contains(field);
    let is_gone = |(name, _): &&(String, Bson)| !after.iter().any(|(kept, _)| kept == name);
    let new = after.iter().filter(is_new);
    let gone = before.iter().filter(is_gone);
    names_of(new.chain(gone).map(|(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::rawdoc;

    #[test]
    fn a_change_names_fields_and_no_values() {
        let before = rawdoc! {"_id": "p", "read": {"a": 1}, "stamp": {"a": 1}, "quotas": {}};
        let after = rawdoc! {"_id": "p", "read": {"a": 2}, "publish": {}, "quotas": {}};
        let names = changed_names(Some(&before), &after);
        assert_eq!(names, ["read", "publish", "stamp"]);
        assert_eq!(changed_names(None, &after), ["read", "publish", "quotas"]);
        assert!(changed_names(Some(&after), &after).is_empty());
    }
}
