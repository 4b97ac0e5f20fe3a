//! Migrations: they bring the collections to their desired state, once, with one node at a time.
//!
//! The files are `migrations/NNNN_name.json`, part of the binary. Each is a list of database commands that
//! may run any number of times. The collection `migrations` records each applied file with its checksum. A
//! lease in the same collection lets many nodes start together.
//!
//! A database with records of migrations that this binary does not know is used all the same. While nodes
//! are upgraded one by one, those of the old version must be able to restart. So a migration never takes
//! away what the version before it needs (see migrations/README.md).

mod actual;
mod apply;
mod desired;
mod difference;
mod files;
mod ownership;

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
    ownership::Ownership,
};

/// The lease that a migrating node holds.
const MIGRATION_LEASE: LeaseName = LeaseName {
    collection: MIGRATIONS,
    id: Cow::Borrowed("lease"),
    work: "migrating the database",
};
/// Time for which a migrator's lease holds without being renewed.
const LEASE_LENGTH: Duration = Duration::from_secs(15);

/// A migration and its state.
#[derive(Clone, PartialEq, Debug)]
pub struct MigrationStatus {
    /// The name of the file without its ending: `0001_subscriptions`.
    pub name: String,
    /// Its state.
    pub state: MigrationState,
}

/// The state of a migration.
#[derive(Clone, PartialEq, Debug)]
pub enum MigrationState {
    /// Not applied yet.
    Pending,
    /// Applied at this time, by the server's clock.
    Applied(DateTime),
    /// Applied, and the file was changed afterwards.
    Edited {
        /// The checksum on record.
        recorded: String,
        /// The checksum of the file in this binary.
        ours: String,
    },
    /// Applied by a newer version: this binary does not have the file.
    Unknown(DateTime),
}

/// A survey of a database, made by reading alone.
#[derive(Clone, PartialEq, Debug)]
pub struct Survey {
    /// The migrations with their states, in order.
    pub migrations: Vec<MigrationStatus>,
    /// The differences of the collections from what the applied migrations made.
    pub differences: Vec<Difference>,
    ownership: Ownership,
}

impl Survey {
    /// Returns the reason why the service does not start on this database, if a collection in it belongs to
    /// somebody else. Then the service changes nothing.
    pub fn refusal(&self, database: &str) -> Option<String> {
        self.ownership
            .require_ours(database)
            .err()
            .map(|e| e.to_string())
    }

    /// Whether a newer version migrated the database.
    fn is_newer(&self) -> bool {
        let mut states = self.migrations.iter().map(|one| &one.state);
        states.any(|state| matches!(state, MigrationState::Unknown(_)))
    }
}

impl Store {
    /// Reads the migrations with their states, in order.
    pub async fn migration_status(&self) -> Result<Vec<MigrationStatus>, StoreError> {
        Ok(self.survey().await?.migrations)
    }

    /// Surveys the database. Changes nothing, and needs only the right to read.
    pub async fn survey(&self) -> Result<Survey, StoreError> {
        let found = self.actual_collections().await?;
        let ownership = self.check_ownership(&found).await?;
        let records = match found.get(MIGRATIONS).filter(|f| f.unusable().is_none()) {
            Some(_) => self.records().await?,
            None => Vec::new(),
        };
        let migrations = status(FILES, &records);
        let applied = FILES.iter().filter(|file| {
            let mut known = migrations.iter().filter(|one| one.name == file.name);
            known.any(|one| one.state != MigrationState::Pending)
        });
        let wanted = self.desired_state(applied)?;
        let mut survey = Survey {
            migrations,
            differences: Vec::new(),
            ownership,
        };
        survey.differences = differences_of(&wanted, &found, survey.is_newer());
        Ok(survey)
    }

    /// Applies pending migrations and mends differences (also in the retention of events and of the audit, which are
    /// settings).
    /// Nodes that start together take turns: one works, the others wait and find the work done. Returns the
    /// names of the migrations that this call applied. If a collection belongs to somebody else, nothing is
    /// changed. If that comes about meanwhile, the work ends there.
    pub async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        self.migrate_with_lease(LEASE_LENGTH).await
    }

    /// [`Store::migrate`] with a lease of another length: the time for which a migrator that died keeps the others
    /// waiting.
    pub async fn migrate_with_lease(&self, lease: Duration) -> Result<Vec<String>, StoreError> {
        let survey = self.survey().await?;
        survey.ownership.require_ours(self.database_name())?;
        let done = pending(&survey.migrations)?.is_empty()
            && survey.differences.is_empty()
            && survey.ownership.unclaimed.is_empty()
            && self.has_stored_deployment();
        if done {
            return Ok(Vec::new());
        }
        self.under_lease(lease, false).await
    }

    /// Checks a database for a start without migrating. Fails if migrations are pending or collections differ.
    /// Only mends the retention.
    pub async fn require_migrated(&self) -> Result<(), StoreError> {
        let survey = self.survey().await?;
        survey.ownership.require_ours(self.database_name())?;
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

    /// Brings the collections back to their desired state, whatever the records say, after one was dropped or
    /// recreated at run time. Any number of nodes may call this at once.
    pub async fn repair(&self) -> Result<(), StoreError> {
        self.under_lease(LEASE_LENGTH, true).await.map(drop)
    }

    async fn under_lease(&self, length: Duration, ours: bool) -> Result<Vec<String>, StoreError> {
        let work = async {
            let lease = Lease::acquire(self, MIGRATION_LEASE, length).await?;
            lease
                .hold_during(Box::pin(self.migrate_under_lease(ours)))
                .await
        };
        work.await.map_err(|error| self.missing_right(error))
    }

    /// Does all the work, under the lease. With `ours`, the database was found to be ours before, and still is.
    async fn migrate_under_lease(&self, ours: bool) -> Result<Vec<String>, StoreError> {
        // Another node may have done the work while this one waited.
        let survey = self.survey().await?;
        if !ours {
            survey.ownership.require_ours(self.database_name())?;
        }
        let names = pending(&survey.migrations)?;
        self.claim(&survey.ownership).await?;
        self.keep_deployment().await?;
        let is_newer = survey.is_newer();
        let fresh = if ours {
            Ownership::default()
        } else {
            survey.ownership
        };
        for file in FILES
            .iter()
            .filter(|file| names.iter().any(|name| name == file.name))
        {
            self.apply(file, &fresh).await?;
            self.record(file).await?;
            tracing::info!(migration = file.name, "applied");
        }
        // All are applied now. Do not read that from the records: the majority may not have them yet.
        let left = differences_of(
            &self.desired_state(FILES)?,
            &self.actual_collections().await?,
            is_newer,
        );
        self.mend(&left, names.len() == FILES.len()).await?;
        Ok(names)
    }

    /// Computes the desired state from these files and the settings.
    fn desired_state<'f>(
        &self,
        files: impl IntoIterator<Item = &'f Migration>,
    ) -> Result<desired::DesiredState, StoreError> {
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        let retention = desired::Retention {
            events: seconds(self.inner.retention),
            audit: seconds(self.inner.audit_retention),
        };
        desired::desired_state(files, retention).map_err(|reason| {
            let name = "migrations".to_owned();
            StartupError::FailedMigration { name, reason }.into()
        })
    }

    /// Records a migration as applied. The first record stays.
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

/// Lists the differences. If a newer version migrated the database, only missing things count: this version
/// cannot judge what that one made.
fn differences_of(
    wanted: &desired::DesiredState,
    found: &BTreeMap<String, actual::ActualCollection>,
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

/// Returns the names of pending migrations. An edited migration is an error. An unknown one is logged.
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
