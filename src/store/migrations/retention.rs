//! The one setting that lives in the database: how long events are kept.
//!
//! It is not part of a migration, because those never change. Any number of nodes may apply it; where
//! their settings differ the last one to start wins.

use bson::doc;

use crate::{
    event::STORED_AT_FIELD,
    store::{EVENTS, Store, StoreError, error},
};

/// The index's name.
const INDEX: &str = "storedAt";
/// An index of this name, or of these keys, exists with other options.
const INDEX_CONFLICTS: [i32; 2] = [85, 86];

impl Store {
    /// Makes the TTL index on `events.storedAt` say what the setting says.
    pub(super) async fn apply_retention(&self) -> Result<(), StoreError> {
        let seconds = i64::try_from(self.inner.retention.as_secs()).unwrap_or(i64::MAX);
        let index = doc! {
            "key": {STORED_AT_FIELD: 1},
            "name": INDEX,
            "expireAfterSeconds": seconds,
        };
        let create = doc! {"createIndexes": EVENTS, "indexes": [index]};
        // Not bounded in time: the index may have to be built over many events.
        match self.unhurried(self.database().run_command(create)).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Other(error))
                if error::code(&error).is_some_and(|code| INDEX_CONFLICTS.contains(&code)) => {}
            Err(error) => return Err(error),
        }
        let change = doc! {
            "collMod": EVENTS,
            "index": {"keyPattern": {STORED_AT_FIELD: 1}, "expireAfterSeconds": seconds},
        };
        match self.run(change).await {
            Ok(_) => tracing::info!(seconds, "event retention changed"),
            Err(StoreError::NotPermitted { detail, .. }) => return Err(self.missing_right(detail)),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
