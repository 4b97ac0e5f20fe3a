//! Whether the collections by our names are ours.
//!
//! A name is ours once it is claimed: before anything is made, a document in `migrations` lists the
//! names that were looked at and found free (or that the operator gave us). Older versions wrote no
//! claim; a migration on record claims what it makes. A name that is not claimed and holds
//! documents belongs to somebody else, and then nothing at all is changed.

use std::collections::{BTreeMap, BTreeSet};

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt as _;

use super::{
    MIGRATION_LEASE,
    difference::differences,
    files::FILES,
    found::Found,
    wanted::{Wanted, sum},
};
use crate::store::{
    COLLECTIONS, Foreign, MIGRATIONS, StartupError, Store, StoreError,
    client::deployment::DEPLOYMENT,
};

/// The `_id` of the claim.
pub(super) const CLAIM: &str = "claim";

/// What is in the way, and what a migration would claim.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Look {
    /// What is somebody else's.
    pub(super) foreign: Vec<Foreign>,
    /// Names that are not claimed yet.
    pub(super) unclaimed: BTreeSet<&'static str>,
    /// Those of them that hold somebody's documents and were given to us.
    pub(super) adopted: BTreeSet<&'static str>,
}

impl Look {
    /// Whether others may have filled the collection since.
    pub(super) fn is_fresh(&self, name: &str) -> bool {
        self.unclaimed.contains(name) && !self.adopted.contains(name)
    }

    /// The error that says so, where something is somebody else's.
    pub(super) fn result(&self, database: &str) -> Result<(), StartupError> {
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
    /// Looks at every name of ours. The claims are read again behind the documents: whoever claimed a
    /// name meanwhile did so before it made the collection.
    pub(super) async fn look(&self, found: &BTreeMap<String, Found>) -> Result<Look, StoreError> {
        let mut foreign = Vec::new();
        for name in COLLECTIONS {
            if let Some(reason) = found.get(name).and_then(Found::unusable) {
                foreign.push(Foreign {
                    collection: name.to_owned(),
                    reason: reason.to_owned(),
                    adoptable: false,
                });
            }
        }
        let records = found.get(MIGRATIONS).filter(|f| f.unusable().is_none());
        if self.unclaimed(records.is_some()).await?.is_empty() {
            return Ok(Look {
                foreign,
                ..Look::default()
            });
        }
        let mut filled = Vec::new();
        let wanted = sum(FILES, 1).map_err(|_| StoreError::Unexpected("a migration is no JSON"))?;
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
            foreign.push(Foreign {
                collection: name.to_owned(),
                reason,
                adoptable,
            });
        }
        foreign.sort();
        Ok(Look {
            foreign,
            unclaimed,
            adopted,
        })
    }

    /// The names that nobody has claimed for us.
    async fn unclaimed(&self, has_records: bool) -> Result<BTreeSet<&'static str>, StoreError> {
        let mut names = BTreeSet::from(COLLECTIONS);
        if has_records {
            let claimed = claimed(&self.records().await?);
            names.retain(|name| !claimed.contains(*name));
        }
        Ok(names)
    }

    /// Every document in `migrations` that may be one of ours: a claim, or the record of a file.
    pub(super) async fn records(&self) -> Result<Vec<Document>, StoreError> {
        let records = self.database().collection::<Document>(MIGRATIONS);
        let find = records
            .find(doc! {"$or": [record(), claim()]})
            .sort(doc! {"_id": 1})
            .max_time(self.server_limit());
        self.with_deadline(async { find.await?.try_collect().await })
            .await
    }

    /// Writes down what is ours from now on, before anything is made.
    pub(super) async fn claim(&self, look: &Look) -> Result<(), StoreError> {
        if look.unclaimed.is_empty() {
            return Ok(());
        }
        for name in &look.adopted {
            tracing::warn!(
                collection = name,
                retention_seconds = self.inner.retention.as_secs(),
                "a collection of others is taken over: what is in it is checked by our rules and expires"
            );
        }
        let names: Vec<_> = look.unclaimed.iter().copied().collect();
        let records = self.database().collection::<Document>(MIGRATIONS);
        let update = doc! {"$addToSet": {"collections": {"$each": names}}};
        let claim = records.update_one(doc! {"_id": CLAIM}, update).upsert(true);
        self.with_deadline(claim).await?;
        Ok(())
    }

    /// Gives names back: somebody else filled a collection before it was ours.
    pub(super) async fn give_back(&self, names: &[&String]) -> Result<(), StoreError> {
        let records = self.database().collection::<Document>(MIGRATIONS);
        let update = doc! {"$pull": {"collections": {"$in": names}}};
        self.with_deadline(records.update_one(doc! {"_id": CLAIM}, update))
            .await?;
        Ok(())
    }
}

/// What an empty collection of others has that we could not live with.
fn conflict(name: &str, found: &Found, wanted: &Wanted) -> Option<String> {
    let there = BTreeMap::from([(name.to_owned(), found.clone())]);
    let wanted = Wanted::from([(name.to_owned(), wanted.get(name)?.clone())]);
    let in_the_way = differences(&wanted, &there)
        .into_iter()
        .find(|difference| difference.remedy().is_none());
    in_the_way.map(|difference| format!("has an index that is in the way ({difference})"))
}

/// The names that are ours, as the documents in `migrations` say.
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
            && let Ok(made) = sum([file], 1)
        {
            names.extend(made.into_keys());
        }
    }
    if !names.is_empty() {
        names.insert(MIGRATIONS.to_owned());
    }
    names
}

/// Whatever is in a collection is somebody's; in `migrations`, whatever we do not write before a claim.
fn not_ours(name: &str) -> Document {
    match name {
        MIGRATIONS => doc! {"$nor": [claim(), MIGRATION_LEASE.query(), deployment()]},
        _ => doc! {},
    }
}

/// The form of a migration's record. Other programs keep theirs in collections of this name, too.
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
