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
    error::Error,
    options::{Hint, ReadConcern},
};

use super::document_limits;
use crate::{
    store::{Store, StoreError, client::deadline::operation_time},
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
