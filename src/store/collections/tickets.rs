//! The collection `tickets`: credentials for one connection each. Whoever takes a ticket deletes it in the same step, so that
//! it opens one connection on all nodes together.

use std::time::Duration;

use bson::{DateTime, Document, RawDocumentBuf, doc};
use mongodb::{Collection, options::ReturnDocument};

use super::document_limits;
use crate::store::{Store, StoreError, TICKETS};

impl Store {
    fn tickets(&self) -> Collection<RawDocumentBuf> {
        self.database().collection(TICKETS)
    }

    /// Stores a new ticket, which ends after `lifetime` by the database's clock, or at `by` if that is sooner. Returns its
    /// end.
    pub(crate) async fn insert_ticket(
        &self,
        mut document: Document,
        lifetime: Duration,
        by: Option<DateTime>,
    ) -> Result<DateTime, StoreError> {
        let raw = RawDocumentBuf::try_from(&document).map_err(mongodb::error::Error::from)?;
        document_limits::check(&raw).map_err(|detail| StoreError::Refused { detail })?;
        let lifetime = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
        // The document's own texts are no expressions.
        let id = document.remove("_id");
        let end = doc! {"$min": [{"$add": ["$$NOW", lifetime]}, by]};
        let made = doc! {"$replaceWith": {
            "$mergeObjects": [{"_id": "$_id"}, {"$literal": document}, {"expiresAt": end}],
        }};
        let tickets = self.tickets();
        let insert = tickets
            .find_one_and_update(doc! {"_id": id}, vec![made])
            .upsert(true)
            .return_document(ReturnDocument::After)
            .max_time(self.server_limit());
        let stored = self.with_deadline(insert).await?;
        let end = stored.and_then(|stored| stored.get_datetime("expiresAt").ok());
        end.ok_or(StoreError::Unexpected("a new ticket has no end"))
    }

    /// Takes the ticket of this `_id`: nobody takes it after that. `None` if there is none, or it has ended.
    pub(crate) async fn take_ticket(&self, id: &str) -> Result<Option<RawDocumentBuf>, StoreError> {
        let tickets = self.tickets();
        let current = doc! {"$gt": ["$expiresAt", "$$NOW"]};
        let take = tickets
            .find_one_and_delete(doc! {
                "_id": {"$eq": id}, "expiresAt": {"$type": "date"}, "$expr": current,
            })
            .max_time(self.server_limit());
        self.with_deadline(take).await
    }
}
