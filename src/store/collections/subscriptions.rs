//! The collection `subscriptions`: reads and writes of single documents.
//!
//! Every call says for whose [`Sight`] it asks: what is out of sight is neither found nor changed.

mod expiry;
pub(in crate::store) mod listing;
pub(in crate::store) mod snapshot;

use bson::{Bson, Document, RawDocument, RawDocumentBuf, Timestamp, doc};
use mongodb::{
    ClientSession, Collection,
    options::{Hint, ReadConcern},
};

use super::{
    audit::{Act, Actor, changed_names, names_of},
    document_limits,
    documents::{Change, Deleted, Read, Written, exactly, refused_items, sendable, written},
};
use crate::{
    access::Sight,
    store::{
        SUBSCRIPTIONS, Store, StoreError,
        client::{deadline::operation_time, error::item_error},
    },
    subscription::object_id,
};

/// The index on tenant and `_id`.
const TENANT_INDEX: &str = "tenant";

/// The outcome of several inserts.
#[derive(Debug)]
pub struct BatchWritten {
    /// The cluster time of the last of them.
    pub operation_time: Timestamp,
    /// The outcome for each document, in the order given.
    pub outcomes: Vec<Result<(), StoreError>>,
}

impl Store {
    fn subscriptions(&self) -> Collection<RawDocumentBuf> {
        self.database().collection(SUBSCRIPTIONS)
    }

    /// Reads one subscription.
    pub async fn find_subscription(&self, id: &str, sight: &Sight) -> Result<Read, StoreError> {
        self.find_in(self.session().await?, id, sight).await
    }

    /// Reads one subscription as the primary has it now, and waits until a majority has it too. An earlier
    /// attempt with an unknown outcome may have stored it, and no majority read may show it yet.
    pub async fn find_subscription_settled(
        &self,
        id: &str,
        sight: &Sight,
    ) -> Result<Read, StoreError> {
        let now = self.ping().await?;
        self.find_subscription_after(id, now, sight).await
    }

    /// Reads one subscription once a majority has everything that was committed up to `time`.
    pub async fn find_subscription_after(
        &self,
        id: &str,
        time: Timestamp,
        sight: &Sight,
    ) -> Result<Read, StoreError> {
        let mut session = self.session().await?;
        session.advance_operation_time(time);
        self.find_in(session, id, sight).await
    }

    /// Reads one subscription as the primary has it now. A majority may not have it yet, and may never get it.
    pub async fn find_subscription_newest(
        &self,
        id: &str,
        sight: &Sight,
    ) -> Result<Read, StoreError> {
        let session = self.session().await?;
        self.find_visible_in(session, id, sight, ReadConcern::local())
            .await
    }

    async fn find_in(
        &self,
        session: ClientSession,
        id: &str,
        sight: &Sight,
    ) -> Result<Read, StoreError> {
        self.find_visible_in(session, id, sight, ReadConcern::majority())
            .await
    }

    async fn find_visible_in(
        &self,
        session: ClientSession,
        id: &str,
        sight: &Sight,
        concern: ReadConcern,
    ) -> Result<Read, StoreError> {
        let query = sight.within(by_id(id));
        // The index of the tenant has none of another tenant's, so it takes no time to pass over them.
        let index = sight.tenant().map(|_| Hint::Name(TENANT_INDEX.to_owned()));
        let subscriptions = self.subscriptions();
        let mut read = self
            .find_one_in(&subscriptions, session, query, index, concern)
            .await?;
        read.document = read.document.filter(|document| sight.sees(id, document));
        Ok(read)
    }

    /// Stores a new subscription. The error is [`StoreError::Duplicate`] if its `_id` is taken.
    ///
    /// Every write here is audited if it says on whose behalf it is: it and its entry are written in one transaction.
    pub async fn insert_subscription(
        &self,
        document: &Document,
        by: Option<&Actor>,
    ) -> Result<Written, StoreError> {
        let change = Change::Insert(sendable(document)?);
        let names = names_of(document.keys());
        let written = self
            .write(change, Act::SubscriptionCreate, names, by)
            .await?;
        written.ok_or(StoreError::Unexpected("an insert without a document"))
    }

    /// Stores new subscriptions, each alone: a refused one does not stop the others.
    pub async fn insert_subscriptions(
        &self,
        documents: &[&RawDocumentBuf],
        by: Option<&Actor>,
    ) -> Result<BatchWritten, StoreError> {
        let mut outcomes: Vec<Result<(), StoreError>> = Vec::with_capacity(documents.len());
        let mut sound = Vec::with_capacity(documents.len());
        let mut places = Vec::with_capacity(documents.len());
        for (index, &document) in documents.iter().enumerate() {
            match document_limits::check(document) {
                Ok(()) => {
                    outcomes.push(Ok(()));
                    sound.push(document);
                    places.push(index);
                }
                Err(detail) => outcomes.push(Err(StoreError::Refused { detail })),
            }
        }
        let (operation_time, errors) = match by {
            _ if sound.is_empty() => (self.ping().await?, Vec::new()),
            None => {
                let mut session = self.session().await?;
                let inserting =
                    self.insert_unordered(SUBSCRIPTIONS, sound.iter().copied(), &mut session);
                let errors = inserting.await?;
                (operation_time(&session)?, errors)
            }
            Some(by) => {
                self.audited_inserts(SUBSCRIPTIONS, &sound, Act::SubscriptionCreate, by)
                    .await?
            }
        };
        for error in errors {
            if let Some(index) = places.get(error.index) {
                outcomes[*index] = Err(item_error(&error));
            }
        }
        Ok(BatchWritten {
            operation_time,
            outcomes,
        })
    }

    /// Sets and unsets top-level fields, if the stored document is still exactly `read`. Returns `None` if it
    /// is not, or is gone, or out of reach. Fields given as whole documents are replaced whole.
    pub async fn update_subscription(
        &self,
        read: &RawDocument,
        set: Document,
        unset: &[&str],
        reach: &Sight,
        by: Option<&Actor>,
    ) -> Result<Option<Written>, StoreError> {
        let unset: Document = unset
            .iter()
            .map(|&name| (name.to_owned(), Bson::Null))
            .collect();
        let names = names_of(set.keys().chain(unset.keys()));
        let mut update = Document::new();
        for (operator, fields) in [("$set", set), ("$unset", unset)] {
            if !fields.is_empty() {
                update.insert(operator, fields);
            }
        }
        let change = Change::Modify(reach.within(exactly(read)?), update.into());
        self.write(change, Act::SubscriptionChange, names, by).await
    }

    /// Replaces the stored document by `new`, if it is still exactly `read`. Returns `None` if it is not, or is
    /// gone, or out of reach.
    pub async fn replace_subscription(
        &self,
        read: &RawDocument,
        new: &Document,
        reach: &Sight,
        by: Option<&Actor>,
    ) -> Result<Option<Written>, StoreError> {
        let names = changed_names(Some(read), &sendable(new)?);
        // A plain replacement is refused if a field of another program begins with a dollar.
        let replace = vec![doc! {"$replaceWith": {"$literal": new.clone()}}];
        let change = Change::Modify(reach.within(exactly(read)?), replace.into());
        self.write(change, Act::SubscriptionReplace, names, by)
            .await
    }

    /// Deletes a subscription. With `only_if`, only if the stored document is still exactly that.
    pub async fn delete_subscription(
        &self,
        id: &str,
        only_if: Option<&RawDocument>,
        reach: &Sight,
        by: Option<&Actor>,
    ) -> Result<Deleted, StoreError> {
        let query = reach.within(only_if.map_or_else(|| Ok(by_id(id)), exactly)?);
        let change = Change::Remove(query);
        let deleted = self.write(change, Act::SubscriptionDelete, Vec::new(), by);
        if let Some(deleted) = deleted.await? {
            return Ok(Deleted::Gone(deleted.operation_time));
        }
        if only_if.is_some() {
            let newest = self.find_subscription_newest(id, reach).await?;
            if newest.document.is_some() {
                return Ok(Deleted::Changed);
            }
        }
        Ok(Deleted::NotFound)
    }

    /// Writes one subscription, with its entry in the audit if it is known on whose behalf.
    async fn write(
        &self,
        change: Change,
        act: Act,
        changed: Vec<String>,
        by: Option<&Actor>,
    ) -> Result<Option<Written>, StoreError> {
        if let Some(by) = by {
            return self.audited(SUBSCRIPTIONS, change, act, changed, by).await;
        }
        let mut session = self.session().await?;
        let change = self.change(SUBSCRIPTIONS, &change, &mut session);
        let document = self.with_deadline(change).await?;
        written(&session, document)
    }

    /// Inserts the documents that it can. Returns the errors of the others.
    pub(super) async fn insert_unordered<'d>(
        &self,
        collection: &str,
        documents: impl IntoIterator<Item = &'d RawDocumentBuf>,
        session: &mut ClientSession,
    ) -> Result<Vec<mongodb::error::IndexedWriteError>, StoreError> {
        let collection = self.database().collection::<RawDocumentBuf>(collection);
        let insert = collection
            .insert_many(documents)
            .ordered(false)
            .session(session);
        let refused = async { refused_items(insert.await) };
        self.with_deadline(refused).await
    }
}

/// Returns the query for a document with this id.
fn by_id(id: &str) -> Document {
    object_id(id).map_or_else(
        || doc! {"_id": id},
        |object_id| doc! {"_id": {"$in": [id, object_id]}},
    )
}
