//! The ownership of the collections with our names.
//!
//! A name is ours once it is claimed: before anything is created, a document in `migrations` lists the names
//! that were found free, or that the operator handed over. Older versions wrote no claim; a recorded
//! migration claims the collections that it creates. A collection with documents whose name is not claimed
//! belongs to somebody else. Then nothing at all is changed.

use std::collections::{BTreeMap, BTreeSet};

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt as _;

use super::{
    MIGRATION_LEASE,
    actual::ActualCollection,
    desired::{DesiredState, Retention, desired_state},
    difference::differences,
    files::FILES,
};
use crate::store::{
    COLLECTIONS, ForeignCollection, MIGRATIONS, StartupError, Store, StoreError,
    client::deployment::DEPLOYMENT,
};

/// The `_id` of the claim.
pub(super) const CLAIM: &str = "claim";

/// The owners of our names, before a migration.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Ownership {
    /// Collections that belong to somebody else.
    pub(super) foreign: Vec<ForeignCollection>,
    /// Names that are not claimed yet.
    pub(super) unclaimed: BTreeSet<&'static str>,
    /// Those of the unclaimed names whose documents the operator handed over.
    pub(super) adopted: BTreeSet<&'static str>,
}

impl Ownership {
    /// Whether others may have filled the collection since this was read.
    pub(super) fn is_fresh(&self, name: &str) -> bool {
        self.unclaimed.contains(name) && !self.adopted.contains(name)
    }

    /// Fails if a collection belongs to somebody else.
    pub(super) fn require_ours(&self, database: &str) -> Result<(), StartupError> {
        if self.foreign.is_empty() {
            return Ok(());
        }
        Err(StartupError::NotOurs {
            database: database.to_owned(),
            foreign: self.foreign.clone(),
            begun: false,
        })
    }
}

impl Store {
    /// Checks every name of ours. Reads the claims again after the documents: a node that claimed a name
    /// meanwhile did so before it created the collection.
    pub(super) async fn check_ownership(
        &self,
        found: &BTreeMap<String, ActualCollection>,
    ) -> Result<Ownership, StoreError> {
        let mut foreign = Vec::new();
        for name in COLLECTIONS {
            if let Some(reason) = found.get(name).and_then(ActualCollection::unusable) {
                foreign.push(ForeignCollection {
                    collection: name.to_owned(),
                    reason: reason.to_owned(),
                    adoptable: false,
                });
            }
        }
        let records = found.get(MIGRATIONS).filter(|f| f.unusable().is_none());
        if self.unclaimed(records.is_some()).await?.is_empty() {
            return Ok(Ownership {
                foreign,
                ..Ownership::default()
            });
        }
        let mut filled = Vec::new();
        let wanted = desired_state(FILES, Retention::default())
            .map_err(|_| StoreError::Unexpected("a migration is not JSON"))?;
        for name in COLLECTIONS {
            let Some(found) = found.get(name).filter(|found| found.unusable().is_none()) else {
                continue;
            };
            if self.has_document(name, not_ours(name)).await? {
                filled.push((name, "has documents".to_owned(), true));
            } else if let Some(reason) = conflict(name, found, &wanted) {
                filled.push((name, reason, false));
            }
        }
        let unclaimed = self.unclaimed(records.is_some()).await?;
        let mut adopted = BTreeSet::new();
        filled.retain(|(name, ..)| unclaimed.contains(name));
        for (name, reason, adoptable) in filled {
            if adoptable && self.inner.adopt.iter().any(|adopt| adopt == name) {
                adopted.insert(name);
                continue;
            }
            foreign.push(ForeignCollection {
                collection: name.to_owned(),
                reason,
                adoptable,
            });
        }
        foreign.sort();
        Ok(Ownership {
            foreign,
            unclaimed,
            adopted,
        })
    }

    /// Reads the names that no node has claimed yet.
    async fn unclaimed(&self, has_records: bool) -> Result<BTreeSet<&'static str>, StoreError> {
        let mut names = BTreeSet::from(COLLECTIONS);
        if has_records {
            let claimed = claimed(&self.records().await?);
            names.retain(|name| !claimed.contains(*name));
        }
        Ok(names)
    }

    /// Reads every document in `migrations` that may be ours: a claim, or the record of a file.
    pub(super) async fn records(&self) -> Result<Vec<Document>, StoreError> {
        let records = self.database().collection::<Document>(MIGRATIONS);
        let find = records
            .find(doc! {"$or": [record(), claim()]})
            .sort(doc! {"_id": 1})
            .max_time(self.server_limit());
        self.with_deadline(async { find.await?.try_collect().await })
            .await
    }

    /// Claims the unclaimed names, before anything is created.
    pub(super) async fn claim(&self, ownership: &Ownership) -> Result<(), StoreError> {
        if ownership.unclaimed.is_empty() {
            return Ok(());
        }
        for name in &ownership.adopted {
            tracing::warn!(
                collection = name,
                retention_seconds = self.inner.retention.as_secs(),
                "a collection of others is taken over: our rules apply to its documents, and they expire"
            );
        }
        let names: Vec<_> = ownership.unclaimed.iter().copied().collect();
        let records = self.database().collection::<Document>(MIGRATIONS);
        let update = doc! {"$addToSet": {"collections": {"$each": names}}};
        let claim = records.update_one(doc! {"_id": CLAIM}, update).upsert(true);
        self.with_deadline(claim).await?;
        Ok(())
    }

    /// Gives names back, because somebody else filled a collection before it was ours.
    pub(super) async fn give_back(&self, names: &[&String]) -> Result<(), StoreError> {
        let records = self.database().collection::<Document>(MIGRATIONS);
        let update = doc! {"$pull": {"collections": {"$in": names}}};
        self.with_deadline(records.update_one(doc! {"_id": CLAIM}, update))
            .await?;
        Ok(())
    }
}

/// Finds an obstacle in an empty collection of others.
fn conflict(name: &str, found: &ActualCollection, wanted: &DesiredState) -> Option<String> {
    let there = BTreeMap::from([(name.to_owned(), found.clone())]);
    let wanted = DesiredState::from([(name.to_owned(), wanted.get(name)?.clone())]);
    let in_the_way = differences(&wanted, &there)
        .into_iter()
        .find(|difference| difference.remedy().is_none());
    in_the_way.map(|difference| format!("has a conflicting index ({difference})"))
}

/// Returns the names that the documents in `migrations` claim for us.
fn claimed(records: &[Document]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for record in records {
        let Ok(id) = record.get_str("_id") else {
            continue;
        };
        if id == CLAIM {
            let claimed = record
                .get_array("collections")
                .map_or(&[][..], Vec::as_slice);
            names.extend(claimed.iter().filter_map(Bson::as_str).map(str::to_owned));
        } else if let Some(file) = FILES.iter().find(|file| file.name == id)
            && let Ok(made) = desired_state([file], Retention::default())
        {
            names.extend(made.into_keys());
        }
    }
    if !names.is_empty() {
        names.insert(MIGRATIONS.to_owned());
    }
    names
}

/// Returns the query for documents that are not ours: any document; in `migrations`, any that we do not write
/// before a claim.
fn not_ours(name: &str) -> Document {
    match name {
        MIGRATIONS => doc! {"$nor": [claim(), MIGRATION_LEASE.query(), deployment()]},
        _ => doc! {},
    }
}

/// Returns the query for a migration's record. Other programs keep theirs in collections of this name, too.
fn record() -> Document {
    doc! {
        "_id": {"$type": "string", "$regex": "^[0-9]{4}_"},
        "checksum": {"$type": "string"},
        "appliedAt": {"$type": "date"},
    }
}

fn claim() -> Document {
    doc! {"_id": CLAIM, "collections": {"$type": "array"}}
}

fn deployment() -> Document {
    doc! {"_id": DEPLOYMENT, "secret": {"$type": "binData"}}
}
