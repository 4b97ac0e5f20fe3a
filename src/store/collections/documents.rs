//! Documents that other programs write, too: reads of one, and writes that depend on what was read.
//!
//! A change is conditional on the whole document being what the caller read. So two writers never overwrite
//! each other unseen, whatever program the other one is. MongoDB compares numbers by value: a change from
//! `1` to `1.0` alone, between the read and the write, is not noticed.

use std::sync::LazyLock;

use bson::{Bson, Document, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp, doc};
use mongodb::{
    ClientSession, Collection,
    action::Action as _,
    error::{Error, ErrorKind, IndexedWriteError, InsertManyError},
    options::{Hint, ReadConcern, ReturnDocument, UpdateModifications},
    results::InsertManyResult,
};

use super::document_limits;
use crate::{
    access::TENANT,
    store::{
        Store, StoreError,
        client::{deadline::operation_time, error::code},
    },
    subscription::DocumentKey,
};

/// The order of the index on `_id`, in which a string comes before an `ObjectId`. Of two documents with one
/// id, the string is the subscription.
pub(super) static STRINGS_FIRST: LazyLock<Document> = LazyLock::new(|| doc! {"_id": 1});

/// A document as it was at one time.
#[derive(Clone, Debug)]
pub struct Read {
    /// The cluster time: the read includes everything committed before.
    pub operation_time: Timestamp,
    /// The document, if there is one.
    pub document: Option<RawDocumentBuf>,
}

/// A write that a majority acknowledged.
#[derive(Clone, Debug)]
pub struct Written {
    /// The cluster time of the write.
    pub operation_time: Timestamp,
    /// The document as it is stored now.
    pub document: RawDocumentBuf,
}

/// A write of one document.
#[derive(Debug)]
pub(super) enum Change {
    Insert(RawDocumentBuf),
    /// Changes the document that a query finds.
    Modify(Document, UpdateModifications),
    /// Deletes the document that a query finds, the first in the order of the index on `_id`.
    Remove(Document),
}

/// The outcome of a delete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deleted {
    /// The document is gone, at this cluster time.
    Gone(Timestamp),
    /// There was no such document.
    NotFound,
    /// The document has changed since it was read.
    Changed,
}

impl Store {
    /// Reads one document by its `_id`, whatever type that has.
    pub async fn find_stored(
        &self,
        collection: &str,
        key: &DocumentKey,
    ) -> Result<Read, StoreError> {
        let session = self.session().await?;
        self.find_by_key(collection, session, key).await
    }

    /// Reads one document by its `_id` as the primary has it now, and waits until a majority has it too.
    pub(super) async fn find_stored_settled(
        &self,
        collection: &str,
        key: &DocumentKey,
    ) -> Result<Read, StoreError> {
        let now = self.ping().await?;
        let mut session = self.session().await?;
        session.advance_operation_time(now);
        self.find_by_key(collection, session, key).await
    }

    async fn find_by_key(
        &self,
        collection: &str,
        session: ClientSession,
        key: &DocumentKey,
    ) -> Result<Read, StoreError> {
        let by_key = doc! {"_id": {"$eq": key.to_bson().unwrap_or(Bson::Null)}};
        let collection = self.database().collection(collection);
        self.find_one_in(&collection, session, by_key, None, ReadConcern::majority())
            .await
    }

    /// Makes a change. Returns the document as it is now; of one that is deleted, its `_id` and whose it was; `None` if the
    /// query found none.
    pub(super) async fn change(
        &self,
        collection: &str,
        change: &Change,
        session: &mut ClientSession,
    ) -> Result<Option<RawDocumentBuf>, Error> {
        let collection = self.database().collection::<RawDocumentBuf>(collection);
        let limit = self.server_limit();
        match change {
            Change::Insert(document) => {
                collection.insert_one(document).session(session).await?;
                Ok(Some(document.clone()))
            }
            Change::Modify(query, update) => {
                let modify = collection
                    .find_one_and_update(query.clone(), update.clone())
                    .return_document(ReturnDocument::After)
                    .max_time(limit);
                modify.session(session).await
            }
            Change::Remove(query) => {
                let remove = collection
                    .find_one_and_delete(query.clone())
                    .sort(STRINGS_FIRST.clone())
                    .projection(doc! {"_id": 1, TENANT: 1})
                    .max_time(limit);
                remove.session(session).await
            }
        }
    }

    pub(super) async fn find_one_in(
        &self,
        collection: &Collection<RawDocumentBuf>,
        mut session: ClientSession,
        filter: Document,
        index: Option<Hint>,
        concern: ReadConcern,
    ) -> Result<Read, StoreError> {
        let find = collection
            .find_one(filter)
            .sort(STRINGS_FIRST.clone())
            .optional(index, mongodb::action::FindOne::hint)
            .read_concern(concern)
            .max_time(self.server_limit())
            .session(&mut session);
        let document = self.with_deadline(find).await?;
        Ok(Read {
            operation_time: operation_time(&session)?,
            document,
        })
    }
}

/// Returns the errors of those documents that an insert of several could not store.
pub(super) fn refused_items(
    inserted: Result<InsertManyResult, Error>,
) -> Result<Vec<IndexedWriteError>, Error> {
    match inserted {
        Ok(_) => Ok(Vec::new()),
        Err(error) if code(&error).is_some() => Err(error),
        Err(error) => match *error.kind {
            ErrorKind::InsertMany(InsertManyError {
                write_errors: Some(errors),
                ..
            }) => Ok(errors),
            _ => Err(error),
        },
    }
}

/// Converts the document to BSON, if the server would accept it at all.
pub(super) fn sendable(document: &Document) -> Result<RawDocumentBuf, StoreError> {
    let raw = RawDocumentBuf::try_from(document).map_err(Error::from)?;
    document_limits::check(&raw).map_err(|detail| StoreError::Refused { detail })?;
    Ok(raw)
}

/// Returns the query for a stored document that is exactly `read`.
pub(super) fn exactly(read: &RawDocument) -> Result<Document, StoreError> {
    let id: Bson = match read.get("_id") {
        Ok(Some(id)) => RawBsonRef::try_into(id).map_err(Error::from)?,
        _ => return Err(StoreError::Unexpected("a stored document without _id")),
    };
    let whole = Document::try_from(read).map_err(Error::from)?;
    Ok(doc! {
        "_id": {"$eq": id},
        "$expr": {"$eq": ["$$ROOT", {"$literal": whole}]},
    })
}

/// Returns what was written, if a document was, with the cluster time.
pub(super) fn written(
    session: &ClientSession,
    document: Option<RawDocumentBuf>,
) -> Result<Option<Written>, StoreError> {
    let operation_time = operation_time(session)?;
    Ok(document.map(|document| Written {
        operation_time,
        document,
    }))
}
