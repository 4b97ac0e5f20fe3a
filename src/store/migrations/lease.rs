//! One migrator at a time, even if one dies at work.
//!
//! The lease is a document that names its holder and the time until which it holds, both judged by the
//! server's clock alone (`$$NOW`). The holder renews it while it works; if it dies, the lease runs out
//! and another takes over.

use std::time::Duration;

use bson::{Document, doc};
use mongodb::options::ReturnDocument;

use super::MIGRATIONS;
use crate::store::{Store, StoreError};

/// The `_id` of the document.
const LEASE: &str = "lease";
/// A lease that claims to hold for longer than this was never ours.
const LONGEST_MS: i64 = 3_600_000;
/// How often a migrator that waits asks again.
const POLL: Duration = Duration::from_millis(100);

/// The form of the document.
pub(super) fn shape() -> Document {
    doc! {"_id": LEASE, "holder": {"$type": "string"}}
}

/// The right to migrate.
#[derive(Debug)]
pub(super) struct Lease<'s> {
    store: &'s Store,
    holder: String,
    length: Duration,
}

impl<'s> Lease<'s> {
    /// Waits until no one else holds the lease. A holder that works on is waited for: it makes
    /// what this migrator needs.
    pub(super) async fn acquire(store: &'s Store, length: Duration) -> Result<Self, StoreError> {
        let holder = uuid::Uuid::now_v7().simple().to_string();
        let lease = Self {
            store,
            holder,
            length,
        };
        let mut told = false;
        while !lease.take().await? {
            if !told {
                tracing::info!("another node is migrating the database: waiting for it");
                told = true;
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(lease)
    }

    /// Does the work while renewing the lease, then gives it back. Work whose lease is lost is dropped.
    pub(super) async fn hold_during<T>(
        self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let done = tokio::select! {
            done = work => done,
            lost = self.renew() => Err(lost),
        };
        let released = self.release().await;
        let value = done?;
        released.map(|()| value)
    }

    /// Renews until that fails; returns why.
    async fn renew(&self) -> StoreError {
        loop {
            tokio::time::sleep(self.length / 3).await;
            match self.take().await {
                Ok(true) => {}
                Ok(false) => return StoreError::Unexpected("the migration lease was lost"),
                // The lease may outlast the trouble; if not, the next attempt tells.
                Err(error) if error.is_away() => {
                    tracing::warn!(%error, "the migration lease could not be renewed");
                }
                Err(error) => return error,
            }
        }
    }

    /// Takes the lease if it is free or ours already.
    async fn take(&self) -> Result<bool, StoreError> {
        let length = i64::try_from(self.length.as_millis()).unwrap_or(i64::MAX);
        let free = doc! {"$or": [
            {"$eq": ["$holder", self.holder.as_str()]},
            {"$ne": [{"$type": "$until"}, "date"]},
            {"$lte": ["$until", "$$NOW"]},
            {"$gt": ["$until", {"$add": ["$$NOW", LONGEST_MS]}]},
        ]};
        let update = vec![
            doc! {"$set": {"free": free}},
            doc! {"$set": {
                "holder": {"$cond": ["$free", self.holder.as_str(), "$holder"]},
                "until": {"$cond": ["$free", {"$add": ["$$NOW", length]}, "$until"]},
            }},
            doc! {"$unset": "free"},
        ];
        let records = self.store.database().collection::<Document>(MIGRATIONS);
        let modify = records
            .find_one_and_update(doc! {"_id": LEASE}, update)
            .upsert(true)
            .return_document(ReturnDocument::After);
        match self.store.bounded(modify).await {
            Ok(found) => {
                Ok(found.is_some_and(|f| f.get_str("holder").ok() == Some(self.holder.as_str())))
            }
            // Two migrators wrote the first lease at once; the other one has it.
            Err(StoreError::Duplicate) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn release(&self) -> Result<(), StoreError> {
        let records = self.store.database().collection::<Document>(MIGRATIONS);
        let ours = doc! {"_id": LEASE, "holder": self.holder.as_str()};
        self.store.bounded(records.delete_one(ours)).await?;
        Ok(())
    }
}
