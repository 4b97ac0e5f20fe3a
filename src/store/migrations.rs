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
mod difference;
mod files;
mod found;
mod ours;
mod wanted;

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use bson::{DateTime, Document, doc};
use mongodb::options::{Acknowledgment, CollectionOptions, WriteConcern};

use super::{
    MIGRATIONS, StartupError, Store, StoreError,
    lease::{Lease, LeaseName},
};

pub use self::difference::Difference;
use self::{
    difference::differences,
    files::{FILES, Migration},
    ours::Look,
};

/// The lease that a migrating node holds.
const MIGRATION_LEASE: LeaseName = LeaseName {
    collection: MIGRATIONS,
    id: Cow::Borrowed("lease"),
    work: "migrating the database",
};
/// Time for which a migrator's lease holds without being renewed.
const LEASE_LENGTH: Duration = Duration::from_secs(15);

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

/// How a database stands, learned by reading alone.
#[derive(Clone, PartialEq, Debug)]
pub struct Survey {
    /// Where each migration stands, in order.
    pub migrations: Vec<MigrationStatus>,
    /// Where the collections are not as the applied migrations made them.
    pub differences: Vec<Difference>,
    look: Look,
}

impl Survey {
    /// Why the service does not start on this database and changes nothing, where something in it is
    /// somebody else's.
    pub fn refusal(&self, database: &str) -> Option<String> {
        self.look.result(database).err().map(|e| e.to_string())
    }

    /// Whether a newer version was at work.
    fn is_newer(&self) -> bool {
        let mut states = self.migrations.iter().map(|one| &one.state);
        states.any(|state| matches!(state, MigrationState::Unknown(_)))
    }
}

impl Store {
    /// Where each migration stands, in order.
    pub async fn migration_status(&self) -> Result<Vec<MigrationStatus>, StoreError> {
        Ok(self.survey().await?.migrations)
    }

    /// How the database stands. Changes nothing, and needs no more than the right to read.
    pub async fn survey(&self) -> Result<Survey, StoreError> {
        let found = self.found().await?;
        let look = self.look(&found).await?;
        let records = match found.get(MIGRATIONS).filter(|f| f.unusable().is_none()) {
            Some(_) => self.records().await?,
            None => Vec::new(),
        };
        let migrations = status(FILES, &records);
        let applied = FILES.iter().filter(|file| {
            let mut known = migrations.iter().filter(|one| one.name == file.name);
            known.any(|one| one.state != MigrationState::Pending)
        });
        let wanted = self.wanted(applied)?;
        let mut survey = Survey {
            migrations,
            differences: Vec::new(),
            look,
        };
        survey.differences = differences_of(&wanted, &found, survey.is_newer());
        Ok(survey)
    }

    /// Applies what is pending and mends what is not as it has to be (event retention, a setting, is
    /// part of that). Nodes that start together take turns: one works, the others wait and find the work
    /// done. Returns the names of what this call applied. Where something in the database is somebody
    /// else's, nothing is changed; where it becomes so meanwhile, the work ends there.
    pub async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        self.migrate_with_lease(LEASE_LENGTH).await
    }

    /// [`Store::migrate`] with a lease of another length: how long a migrator that died keeps the
    /// others waiting.
    pub async fn migrate_with_lease(&self, lease: Duration) -> Result<Vec<String>, StoreError> {
        let survey = self.survey().await?;
        survey.look.result(self.database_name())?;
        let done = pending(&survey.migrations)?.is_empty()
            && survey.differences.is_empty()
            && survey.look.unclaimed.is_empty()
            && self.has_stored_deployment();
        if done {
            return Ok(Vec::new());
        }
        self.under_lease(lease, false).await
    }

    /// For starting without migrating: an error that lists what is pending or otherwise than it has to
    /// be, if anything is.
    pub async fn require_migrated(&self) -> Result<(), StoreError> {
        let survey = self.survey().await?;
        survey.look.result(self.database_name())?;
        let names = pending(&survey.migrations)?;
        if !names.is_empty() {
            return Err(StartupError::PendingMigrations { names }.into());
        }
        let (retention, others): (Vec<_>, Vec<_>) = survey
            .differences
            .into_iter()
            .partition(Difference::is_retention);
        if !others.is_empty() {
            return Err(StartupError::Differs {
                differences: others.iter().map(Difference::to_string).collect(),
            }
            .into());
        }
        if !self.has_stored_deployment() {
            self.keep_deployment().await?;
        }
        self.mend(&retention, false).await
    }

    /// Brings the collections to their proper state again, whatever the record says: for when one was
    /// dropped or recreated at run time. Any number of nodes may call it at once.
    pub async fn repair(&self) -> Result<(), StoreError> {
        self.under_lease(LEASE_LENGTH, true).await.map(drop)
    }

    async fn under_lease(&self, length: Duration, ours: bool) -> Result<Vec<String>, StoreError> {
        let work = async {
            let lease = Lease::acquire(self, MIGRATION_LEASE, length).await?;
            lease.hold_during(Box::pin(self.bring_about(ours))).await
        };
        work.await.map_err(|error| self.missing_right(error))
    }

    /// Does all that is to be done, under the lease. With `ours`, the database was found to be ours
    /// before, and is so still.
    async fn bring_about(&self, ours: bool) -> Result<Vec<String>, StoreError> {
        // Another node may have been at work while this one waited.
        let survey = self.survey().await?;
        if !ours {
            survey.look.result(self.database_name())?;
        }
        let names = pending(&survey.migrations)?;
        self.claim(&survey.look).await?;
        self.keep_deployment().await?;
        let is_newer = survey.is_newer();
        let fresh = if ours { Look::default() } else { survey.look };
        for file in FILES
            .iter()
            .filter(|file| names.iter().any(|name| name == file.name))
        {
            self.apply(file, &fresh).await?;
            self.record(file).await?;
            tracing::info!(migration = file.name, "applied");
        }
        // All are applied now. The notes that say so are not asked: the majority may not have them yet.
        let left = differences_of(&self.wanted(FILES)?, &self.found().await?, is_newer);
        self.mend(&left, names.len() == FILES.len()).await?;
        Ok(names)
    }

    /// What these files and the settings ask for.
    fn wanted<'f>(
        &self,
        files: impl IntoIterator<Item = &'f Migration>,
    ) -> Result<wanted::Wanted, StoreError> {
        let seconds = i64::try_from(self.inner.retention.as_secs()).unwrap_or(i64::MAX);
        wanted::sum(files, seconds).map_err(|reason| {
            let name = "migrations".to_owned();
            StartupError::FailedMigration { name, reason }.into()
        })
    }

    /// Notes a migration as applied; the first note stays.
    async fn record(&self, file: &Migration) -> Result<(), StoreError> {
        let concern = WriteConcern::builder().w(Acknowledgment::Nodes(1)).build();
        let options = CollectionOptions::builder().write_concern(concern).build();
        let records = self
            .database()
            .collection_with_options::<Document>(MIGRATIONS, options);
        let first = |field: &str, value: bson::Bson| doc! {"$ifNull": [format!("${field}"), value]};
        let update = vec![doc! {"$set": {
            "checksum": first("checksum", file.checksum().into()),
            "appliedAt": first("appliedAt", "$$NOW".into()),
        }}];
        let upsert = records
            .update_one(doc! {"_id": file.name}, update)
            .upsert(true);
        self.with_deadline(upsert).await?;
        Ok(())
    }
}

/// Where the collections are not as they have to be. Where a newer version was at work, only what is missing
/// counts: what that version made is not to be judged by this one.
fn differences_of(
    wanted: &wanted::Wanted,
    found: &BTreeMap<String, found::Found>,
    is_newer: bool,
) -> Vec<Difference> {
    let mut all = differences(wanted, found);
    if is_newer {
        all.retain(Difference::is_absence);
    }
    all
}

fn status(files: &[Migration], records: &[Document]) -> Vec<MigrationStatus> {
    let records: Vec<_> = records
        .iter()
        .filter(|r| r.contains_key("checksum"))
        .collect();
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
    for record in &records {
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
