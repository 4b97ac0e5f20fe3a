//! The collection `audit`: who did what to keys, policies and revocations.
//!
//! `{_id, at, actor: {kind, id, tenant, remote}, act, target, tenant, outcome, request, changed}`. Each entry is written in
//! one transaction with its act, so there is none without the other. It names fields and never holds their values.

use std::time::Duration;

use bson::{Bson, DateTime, Document, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use mongodb::{
    ClientSession, Collection,
    error::{Error, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT},
    options::{ReturnDocument, UpdateModifications},
};

use super::documents::Written;
use crate::{
    access::TENANT,
    store::{
        AUDIT, Store, StoreError,
        client::{availability::jittered, deadline::operation_time, read::collect},
    },
    subscription::DocumentKey,
};

/// The pause before another attempt at a transaction that met another one.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// Fields that say what the entry says itself.
const SAID: [&str; 3] = ["_id", "createdAt", "createdBy"];

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
        }
    }
}

/// The one who acts, as the audit tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Actor {
    /// The way in which it proved itself, or `operator`: someone who can write to the database.
    pub kind: &'static str,
    pub id: Option<Box<str>>,
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

/// A write of one document.
#[derive(Debug)]
pub(super) enum Change {
    Insert(RawDocumentBuf),
    /// Changes the document that a query finds.
    Modify(Document, UpdateModifications),
    /// Deletes the document that a query finds.
    Remove(Document),
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

/// A write of one document, with what the audit says of it.
#[derive(Debug)]
struct Audited<'w> {
    collection: Collection<RawDocumentBuf>,
    change: Change,
    act: Act,
    changed: Vec<String>,
    by: &'w Actor,
}

/// The document that was written, or the failure of the audit alone.
type Outcome = Result<Option<RawDocumentBuf>, Error>;

impl Store {
    /// Writes one document and its entry in the audit: both, or neither. Returns the document as it is now, or was;
    /// `None` if the query found none, which leaves no entry.
    pub(super) async fn audited(
        &self,
        collection: &str,
        change: Change,
        act: Act,
        changed: Vec<String>,
        by: &Actor,
    ) -> Result<Option<Written>, StoreError> {
        let write = Audited {
            collection: self.database().collection(collection),
            change,
            act,
            changed,
            by,
        };
        let mut session = self.session().await?;
        let outcome = self.with_deadline(self.transact(&mut session, &write));
        let document = outcome.await?.map_err(|error| self.not_audited(error))?;
        let operation_time = operation_time(&session)?;
        Ok(document.map(|document| Written {
            operation_time,
            document,
        }))
    }

    /// Repeats the transaction while others are in its way. The caller's deadline ends it.
    async fn transact(
        &self,
        session: &mut ClientSession,
        write: &Audited<'_>,
    ) -> Result<Outcome, Error> {
        loop {
            session.start_transaction().await?;
            let outcome = match self.write_both(session, write).await {
                Ok(Ok(Some(document))) => commit(session).await.map(|()| Ok(Some(document))),
                nothing => {
                    // What cannot be aborted now, the server ends by itself.
                    if let Err(error) = session.abort_transaction().await {
                        tracing::debug!(%error, "cannot abort a transaction");
                    }
                    nothing
                }
            };
            match &outcome {
                Err(error) | Ok(Err(error))
                    if error.contains_label(TRANSIENT_TRANSACTION_ERROR) =>
                {
                    tokio::time::sleep(jittered(RETRY_PAUSE)).await;
                }
                _ => return outcome,
            }
        }
    }

    async fn write_both(
        &self,
        session: &mut ClientSession,
        write: &Audited<'_>,
    ) -> Result<Outcome, Error> {
        let collection = &write.collection;
        let document = match &write.change {
            Change::Insert(document) => {
                let insert = collection.insert_one(document).session(&mut *session);
                insert.await?;
                Some(document.clone())
            }
            Change::Modify(query, update) => {
                let modify = collection
                    .find_one_and_update(query.clone(), update.clone())
                    .return_document(ReturnDocument::After)
                    .max_time(self.server_limit());
                modify.session(&mut *session).await?
            }
            Change::Remove(query) => {
                let remove = collection
                    .find_one_and_delete(query.clone())
                    .max_time(self.server_limit());
                remove.session(&mut *session).await?
            }
        };
        let Some(document) = document else {
            return Ok(Ok(None));
        };
        let audit = self.database().collection::<Document>(AUDIT);
        let insert = audit.insert_one(write.entry(&document)).session(session);
        Ok(insert.await.map(|_| Some(document)))
    }

    /// Returns the error of an act that the audit could not take: it is not done, whatever the reason, and may be tried
    /// again.
    fn not_audited(&self, error: Error) -> StoreError {
        let error: Result<(), _> = Err(error.into());
        match self.note_missing_right(error) {
            Err(StoreError::Other(error)) => StoreError::Unavailable(error),
            Err(StoreError::Refused { detail }) => {
                StoreError::Unavailable(Box::new(Error::custom(detail)))
            }
            Err(StoreError::Duplicate) => {
                StoreError::Unavailable(Box::new(Error::custom("the entry exists already")))
            }
            Err(error) => error,
            Ok(()) => StoreError::Unexpected("a failure that is none"),
        }
    }

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

/// Commits, and asks again while the server does not know whether it has.
async fn commit(session: &mut ClientSession) -> Result<(), Error> {
    loop {
        match session.commit_transaction().await {
            Err(error) if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) => {
                tokio::time::sleep(jittered(RETRY_PAUSE)).await;
            }
            outcome => return outcome,
        }
    }
}

impl Audited<'_> {
    fn entry(&self, document: &RawDocument) -> Document {
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
            "changed": self.changed.clone(),
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
