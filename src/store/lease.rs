//! Leases: one holder at a time for some work, even if a holder dies.
//!
//! A lease is a document that names its holder and the time until which it holds. Only the server's clock
//! (`$$NOW`) judges that time. The holder renews the lease while it works. If it dies, the lease runs out
//! and another takes over.

use std::{borrow::Cow, time::Duration};

use bson::{Document, doc};
use mongodb::{Collection, options::ReturnDocument};

use super::{Store, StoreError};

/// A lease that claims to hold for longer than this is not one of ours.
const LONGEST_MS: i64 = 3_600_000;
/// The pause between two attempts to take a lease that another one holds.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The document of a lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LeaseName {
    pub(super) collection: &'static str,
    pub(super) id: Cow<'static, str>,
    /// The work that the lease protects, for the log: "migrating the database".
    pub(super) work: &'static str,
}

impl LeaseName {
    /// Returns a query for the document that only matches what [`Lease`] writes.
    pub(super) fn query(&self) -> Document {
        doc! {"_id": &*self.id, "holder": {"$type": "string"}}
    }
}

/// The right to do the work that a lease protects.
#[derive(Debug)]
pub(super) struct Lease<'s> {
    store: &'s Store,
    name: LeaseName,
    holder: String,
    length: Duration,
}

impl<'s> Lease<'s> {
    /// Waits until nobody else holds the lease, and takes it.
    pub(super) async fn acquire(
        store: &'s Store,
        name: LeaseName,
        length: Duration,
    ) -> Result<Self, StoreError> {
        let holder = uuid::Uuid::now_v7().simple().to_string();
        let lease = Self {
            store,
            name,
            holder,
            length,
        };
        let mut told = false;
        while !lease.take().await? {
            if !told {
                let work = lease.name.work;
                tracing::info!("another node is {work}: waiting for it");
                told = true;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(lease)
    }

    /// Does the work while renewing the lease, then gives it back. Drops the work if the lease is lost.
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

    /// Renews the lease until that fails, and returns why.
    async fn renew(&self) -> StoreError {
        loop {
            tokio::time::sleep(self.length / 3).await;
            match self.take().await {
                Ok(true) => {}
                Ok(false) => return StoreError::Unexpected("the lease was lost"),
                // The lease may outlast the trouble; if not, the next attempt finds out.
                Err(error) if error.is_unavailable() => {
                    let work = self.name.work;
                    tracing::warn!(%error, "the lease for {work} cannot be renewed now");
                }
                Err(error) => return error,
            }
        }
    }

    /// Takes or renews the lease if it is free or ours. Returns whether it is ours now.
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
        let leases = self.leases();
        let modify = leases
            .find_one_and_update(doc! {"_id": &*self.name.id}, update)
            .upsert(true)
            .return_document(ReturnDocument::After);
        match self.store.with_deadline(modify).await {
            Ok(found) => {
                Ok(found.is_some_and(|f| f.get_str("holder").ok() == Some(self.holder.as_str())))
            }
            // Two nodes inserted the document at once; the other one has the lease.
            Err(StoreError::Duplicate) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn release(&self) -> Result<(), StoreError> {
        let ours = doc! {"_id": &*self.name.id, "holder": self.holder.as_str()};
        self.store
            .with_deadline(self.leases().delete_one(ours))
            .await?;
        Ok(())
    }

    fn leases(&self) -> Collection<Document> {
        self.store.database().collection(self.name.collection)
    }
}
