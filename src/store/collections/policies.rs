//! The collection `policies`: row policies by name.

use bson::{Document, RawDocument, RawDocumentBuf, doc};
use mongodb::{Collection, error::Error};

use super::{
    audit::{Act, Actor, changed_names},
    document_limits,
    documents::{Change, Deleted, Read, Written, exactly},
    subscriptions::listing::Listed,
};
use crate::{
    store::{
        POLICIES, Store, StoreError,
        client::read::{collect, collect_within},
    },
    subscription::DocumentKey,
};

impl Store {
    fn policies(&self) -> Collection<RawDocumentBuf> {
        self.database().collection(POLICIES)
    }

    /// Reads a policy.
    pub(crate) async fn find_policy(&self, name: &str) -> Result<Read, StoreError> {
        let key = DocumentKey::Text(name.into());
        self.find_stored(POLICIES, &key).await
    }

    /// Reads a policy as the primary has it now, and waits until a majority has it too.
    pub(crate) async fn find_policy_settled(&self, name: &str) -> Result<Read, StoreError> {
        let key = DocumentKey::Text(name.into());
        self.find_stored_settled(POLICIES, &key).await
    }

    /// Reads a page of policies in the order of their names, of at most `limit` items and `bytes`; the first may be
    /// larger. A document whose `_id` is no text is no policy.
    pub(crate) async fn list_policies(
        &self,
        after: Option<&str>,
        limit: usize,
        bytes: usize,
    ) -> Result<Listed, StoreError> {
        let mut named = doc! {"$type": "string"};
        if let Some(after) = after {
            named.insert("$gt", after);
        }
        let policies = self.policies();
        let find = policies
            .find(doc! {"_id": named})
            .sort(doc! {"_id": 1})
            .limit(i64::try_from(limit.max(1)).unwrap_or(i64::MAX))
            .max_time(self.server_limit());
        let reading = async { collect_within(find.batch().await?, bytes).await };
        let (documents, whole) = self.with_deadline(reading).await?;
        Ok(Listed {
            exhausted: whole && documents.len() < limit,
            documents,
        })
    }

    /// Stores a new policy. The error is [`StoreError::Duplicate`] if its name is taken.
    pub(crate) async fn insert_policy(
        &self,
        document: RawDocumentBuf,
        by: &Actor,
    ) -> Result<Written, StoreError> {
        document_limits::check(&document).map_err(|detail| StoreError::Refused { detail })?;
        let names = changed_names(None, &document);
        let change = Change::Insert(document);
        let written = self.audited(POLICIES, change, Act::PolicyCreate, names, by);
        let written = written.await?;
        written.ok_or(StoreError::Unexpected("an insert without a document"))
    }

    /// Replaces a policy, if it is still exactly `read`. Returns `None` if it is not, or is gone.
    pub(crate) async fn replace_policy(
        &self,
        read: &RawDocument,
        new: &RawDocument,
        by: &Actor,
    ) -> Result<Option<Written>, StoreError> {
        document_limits::check(new).map_err(|detail| StoreError::Refused { detail })?;
        let names = changed_names(Some(read), new);
        let new = Document::try_from(new).map_err(Error::from)?;
        let replace = vec![doc! {"$replaceWith": {"$literal": new}}];
        let change = Change::Modify(exactly(read)?, replace.into());
        self.audited(POLICIES, change, Act::PolicyReplace, names, by)
            .await
    }

    /// Deletes a policy. With `only_if`, only if the stored document is still exactly that.
    pub(crate) async fn delete_policy(
        &self,
        name: &str,
        only_if: Option<&RawDocument>,
        by: &Actor,
    ) -> Result<Deleted, StoreError> {
        let filter = only_if.map_or_else(|| Ok(doc! {"_id": {"$eq": name}}), exactly)?;
        let change = Change::Remove(filter);
        let deleted = self.audited(POLICIES, change, Act::PolicyDelete, Vec::new(), by);
        Ok(match (deleted.await?, only_if) {
            (Some(deleted), _) => Deleted::Gone(deleted.operation_time),
            (None, None) => Deleted::NotFound,
            (None, Some(_)) => Deleted::Changed,
        })
    }

    /// Reads all policies that are stored, whatever their `_id`.
    pub(in crate::store) async fn all_policies(&self) -> Result<Vec<RawDocumentBuf>, StoreError> {
        let policies = self.policies();
        let find = policies.find(doc! {}).max_time(self.server_limit());
        self.with_deadline(async { collect(find.batch().await?).await })
            .await
    }
}
