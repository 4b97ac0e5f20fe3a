//! The one setting that lives in the database: how long events are kept.
//!
//! It is not part of a migration, because those never change. Any number of nodes may apply it; where
//! their settings differ the last one to start wins.

use bson::{Document, doc};

use crate::{
    event::STORED_AT_FIELD,
    store::{EVENTS, StartupError, Store, StoreError},
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
        let created = self
            .database()
            .run_command(doc! {"createIndexes": EVENTS, "indexes": [index]})
            .await
            .map_err(StoreError::from);
        let error = match created {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if !error
            .code()
            .is_some_and(|code| INDEX_CONFLICTS.contains(&code))
        {
            return Err(error);
        }
        let change = doc! {
            "collMod": EVENTS,
            "index": {"keyPattern": {STORED_AT_FIELD: 1}, "expireAfterSeconds": seconds},
        };
        let changed: Result<Document, _> = self.run(change).await;
        match changed {
            Ok(_) => {
                tracing::info!(seconds, "event retention changed");
                Ok(())
            }
            Err(StoreError::NotPermitted { detail, .. }) => Err(StartupError::MissingRight {
                database: self.database_name().to_owned(),
                detail,
            }
            .into()),
            Err(error) => Err(error),
        }
    }
}
