//! Deleting expired subscriptions.

use bson::{Bson, doc};
use mongodb::{error::Error, options::Hint};

use crate::store::{Store, StoreError, client::read::collect};

/// The index on the expiry, which the TTL monitor uses too.
const INDEX: &str = "expiresAt";
/// The most documents deleted in one call: few enough to be done well within the time limit.
const MOST_DELETED: i64 = 1_000;

impl Store {
    /// Deletes subscriptions whose `expiresAt` has passed, by the server's clock at the delete: one that was
    /// prolonged meanwhile stays. Returns their number. There may be more.
    pub async fn delete_expired_subscriptions(&self) -> Result<u64, StoreError> {
        let now = self.server_time().await?;
        let subscriptions = self.subscriptions();
        let find = subscriptions
            .find(doc! {INDEX: {"$lte": now}})
            .projection(doc! {"_id": 1})
            .hint(Hint::Name(INDEX.to_owned()))
            .limit(MOST_DELETED)
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
        // Only dates: the server's clock is greater than values of some other types, and than null.
        let expired = doc! {
            "_id": {"$in": ids},
            INDEX: {"$lte": now},
            "$expr": {"$lte": ["$expiresAt", "$$NOW"]},
        };
        let delete = subscriptions.delete_many(expired);
        Ok(self.with_deadline(delete).await?.deleted_count)
    }
}
