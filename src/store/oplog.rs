//! How far back the oplog reaches.

use bson::{Document, Timestamp, doc};
use mongodb::options::ReadConcern;

use super::{Store, StoreError};

impl Store {
    /// The time of the oldest entry of the oplog; `None` where the rights given do not allow to read it
    /// (`read` on the database `local`, or `clusterMonitor`), or the cluster has no single oplog.
    pub async fn oplog_begin(&self) -> Result<Option<Timestamp>, StoreError> {
        match self.first_oplog_entry().await {
            Ok(found) => Ok(found),
            Err(StoreError::NotPermitted { .. }) => self.oplog_begin_by_status().await,
            Err(error) => Err(error),
        }
    }

    async fn first_oplog_entry(&self) -> Result<Option<Timestamp>, StoreError> {
        let local = self.client().database("local");
        let oplog = local.collection::<Document>("oplog.rs");
        let find = oplog
            .find_one(doc! {})
            .sort(doc! {"$natural": 1})
            .projection(doc! {"ts": 1})
            .read_concern(ReadConcern::local())
            .max_time(self.server_limit());
        let found = self.asked(find).await?;
        Ok(found.and_then(|entry| entry.get_timestamp("ts").ok()))
    }

    async fn oplog_begin_by_status(&self) -> Result<Option<Timestamp>, StoreError> {
        let status = doc! {"serverStatus": 1, "oplog": 1};
        let admin = self.client().database("admin");
        match self.asked(admin.run_command(status)).await {
            Ok(status) => Ok(earliest(&status)),
            Err(StoreError::NotPermitted { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn earliest(status: &Document) -> Option<Timestamp> {
    let oplog = status.get_document("oplog").ok()?;
    let earliest = oplog.get_document("earliestOptime").ok()?;
    earliest.get_timestamp("ts").ok()
}
