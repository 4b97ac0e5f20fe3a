//! Deleting subscriptions that have expired.

use bson::{Bson, doc};
use mongodb::{error::Error, options::Hint};

use crate::store::{Store, StoreError, client::read::collect};

/// The index that expiry is found by, the TTL monitor's too.
const INDEX: &str = "expiresAt";
/// Documents deleted in one call at most: short enough to be done well within the time limit.
const DELETE_LIMIT: i64 = 1_000;

impl Store {
    /// Deletes subscriptions whose `expiresAt` has passed by the server's clock when it deletes them, so
    /// that one that is prolonged meanwhile stays. Returns how many; there may be more.
    pub async fn delete_expired_subscriptions(&self) -> Result<u64, StoreError> {
        let now = self.server_time().await?;
        let subscriptions = self.subscriptions();
        let find = subscriptions
            .find(doc! {INDEX: {"$lte": now}})
            .projection(doc! {"_id": 1})
            .hint(Hint::Name(INDEX.to_owned()))
            .limit(DELETE_LIMIT)
            .max_time(self.server_limit());
        let found = self
            .with_deadline(async { collect(find.batch().await?).await })
            .await?;
        let ids = found
            .iter()
            .filter_map(|document| document.get("_id").ok().flatten())
            .map(Bson::try_from)
            .collect::<Result<Vec<_>, _>>()
            .map_err(Error::from)?;
        if ids.is_empty() {
            return Ok(0);
        }
        // Dates alone: the server's clock comes after whatever is no date, and after null.
        let expired = doc! {
            "_id": {"$in": ids},
            INDEX: {"$lte": now},
            "$expr": {"$lte": ["$expiresAt", "$$NOW"]},
        };
        let delete = subscriptions.delete_many(expired);
        Ok(self.with_deadline(delete).await?.deleted_count)
    }
}
