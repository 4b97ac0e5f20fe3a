//! Migrations: what our collections must be like, brought about once, by one node at a time.
//!
//! The files are `migrations/NNNN_name.json`, part of the binary. Each is a list of database
//! commands that may be run any number of times. What was applied is recorded in the collection
//! `migrations` with the file's checksum; a lease in the same collection lets many nodes start together.
//!
//! A database that records migrations this binary does not know is used all the same: while nodes are
//! upgraded one by one, those of the old version must be able to restart, and a migration never
//! takes away what the version before it needs (see migrations/README.md).

mod apply;
mod files;
mod lease;
mod retention;

use std::time::Duration;

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt as _;

use super::{MIGRATIONS, StartupError, Store, StoreError};

use self::{
    files::{FILES, Migration},
    lease::Lease,
};

/// How long a migrator's lease runs without being renewed.
const LEASE: Duration = Duration::from_secs(15);

/// One migration and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct MigrationStatus {
    /// The file's name without its ending: `0001_subscriptions`.
    pub name: String,
    /// Where it stands.
    pub state: MigrationState,
}

/// Where a migration stands.
#[derive(Clone, PartialEq, Debug)]
pub enum MigrationState {
    /// Not applied yet.
    Pending,
    /// Applied, at this time of the server's clock.
    Applied(DateTime),
    /// Applied, and the file was changed since.
    Edited {
        /// The checksum on record.
        recorded: String,
        /// The checksum of the file in this binary.
        ours: String,
    },
    /// Applied by a newer version; this binary does not have the file.
    Unknown(DateTime),
}

impl Store {
    /// Where each migration stands, in order.
    pub async fn migration_status(&self) -> Result<Vec<MigrationStatus>, StoreError> {
        self.status_of(FILES).await
    }

    /// Applies what is pending, then the settings that live in the database (event retention). Nodes that
    /// start together take turns: one works, the others wait and find the work done. Returns the
    /// names of what this call applied.
    pub async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        self.migrate_with_lease(LEASE).await
    }

    /// [`Store::migrate`] with a lease of another length: how long a migrator that died keeps the
    /// others waiting.
    pub async fn migrate_with_lease(&self, lease: Duration) -> Result<Vec<String>, StoreError> {
        let applied = self.migrate_files(FILES, lease).await?;
        self.apply_retention().await?;
        Ok(applied)
    }

    /// For starting without migrating: an error that lists what is pending, if anything is.
    pub async fn require_migrated(&self) -> Result<(), StoreError> {
        let names = pending(&self.migration_status().await?)?;
        if !names.is_empty() {
            return Err(StartupError::PendingMigrations { names }.into());
        }
        self.apply_retention().await
    }

    /// Brings the collections to their proper state again, whatever the record says: for when one was
    /// dropped or recreated at run time. Any number of nodes may call it at once.
    pub async fn repair(&self) -> Result<(), StoreError> {
        self.keep_deployment().await?;
        self.repair_files(FILES, LEASE).await?;
        self.apply_retention().await
    }

    async fn migrate_files(
        &self,
        files: &[Migration],
        lease: Duration,
    ) -> Result<Vec<String>, StoreError> {
        if pending(&self.status_of(files).await?)?.is_empty() {
            return Ok(Vec::new());
        }
        let lease = Lease::acquire(self, lease).await?;
        let work = async {
            // Another node may have been at work while this one waited.
            let names = pending(&self.status_of(files).await?)?;
            for file in files
                .iter()
                .filter(|file| names.iter().any(|name| name == file.name))
            {
                self.apply(file).await?;
                self.record(file).await?;
                tracing::info!(migration = file.name, "applied");
            }
            Ok(names)
        };
        lease.hold_during(work).await
    }

    async fn repair_files(&self, files: &[Migration], lease: Duration) -> Result<(), StoreError> {
        let lease = Lease::acquire(self, lease).await?;
        let work = async {
            for file in files {
                self.apply(file).await?;
                self.record(file).await?;
            }
            Ok(())
        };
        lease.hold_during(work).await
    }

    async fn status_of(&self, files: &[Migration]) -> Result<Vec<MigrationStatus>, StoreError> {
        let records = self.database().collection::<Document>(MIGRATIONS);
        let find = records
            .find(doc! {"checksum": {"$exists": true}})
            .sort(doc! {"_id": 1})
            .max_time(self.server_limit());
        let records: Vec<Document> = self
            .bounded(async { find.await?.try_collect().await })
            .await?;
        Ok(status(files, &records))
    }

    /// Notes a migration as applied; the first note stays.
    async fn record(&self, file: &Migration) -> Result<(), StoreError> {
        let records = self.database().collection::<Document>(MIGRATIONS);
        let first = |field: &str, value: bson::Bson| doc! {"$ifNull": [format!("${field}"), value]};
        let update = vec![doc! {"$set": {
            "checksum": first("checksum", file.checksum().into()),
            "appliedAt": first("appliedAt", "$$NOW".into()),
        }}];
        let upsert = records
            .update_one(doc! {"_id": file.name}, update)
            .upsert(true);
        self.bounded(upsert).await?;
        Ok(())
    }
}

fn status(files: &[Migration], records: &[Document]) -> Vec<MigrationStatus> {
    let applied_at = |record: &Document| {
        let at = record.get_datetime("appliedAt").ok().copied();
        at.unwrap_or(DateTime::from_millis(0))
    };
    let named = |name: &str| records.iter().find(|r| r.get_str("_id").ok() == Some(name));
    let mut all: Vec<_> = files
        .iter()
        .map(|file| {
            let ours = file.checksum();
            let state = match named(file.name) {
                None => MigrationState::Pending,
                Some(record) if record.get_str("checksum").ok() == Some(ours.as_str()) => {
                    MigrationState::Applied(applied_at(record))
                }
                Some(record) => MigrationState::Edited {
                    recorded: record.get_str("checksum").unwrap_or("nothing").to_owned(),
                    ours,
                },
            };
            MigrationStatus {
                name: file.name.to_owned(),
                state,
            }
        })
        .collect();
    for record in records {
        let name = record.get_str("_id").unwrap_or("?");
        if !files.iter().any(|file| file.name == name) {
            all.push(MigrationStatus {
                name: name.to_owned(),
                state: MigrationState::Unknown(applied_at(record)),
            });
        }
    }
    all
}

/// The names of what is pending. An edited migration is an error; an unknown one is told and left.
fn pending(status: &[MigrationStatus]) -> Result<Vec<String>, StartupError> {
    let mut names = Vec::new();
    for one in status {
        match &one.state {
            MigrationState::Pending => names.push(one.name.clone()),
            MigrationState::Edited { recorded, ours } => {
                return Err(StartupError::EditedMigration {
                    name: one.name.clone(),
                    recorded: recorded.clone(),
                    ours: ours.clone(),
                });
            }
            MigrationState::Unknown(_) => {
                tracing::warn!(
                    migration = one.name,
                    "the database was migrated by a newer version"
                );
            }
            MigrationState::Applied(_) => {}
        }
    }
    Ok(names)
}
