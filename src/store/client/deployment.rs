//! The identity of this deployment: a random value that is stored once, hashed with the names of the
//! replica set and the database. So a database that is restored elsewhere is another deployment.

use bson::{Binary, Bson, Document, doc, spec::BinarySubtype};
use mongodb::{Database, error::Error, options::ReturnDocument};
use sha2::{Digest as _, Sha256};

use super::error::{self, StoreError};
use crate::{
    position::DeploymentId,
    store::{MIGRATIONS, Store},
};

/// The `_id` of the document.
pub(in crate::store) const DEPLOYMENT: &str = "deployment";

/// The identity of a deployment, with its parts.
#[derive(Clone, Debug)]
pub(in crate::store) struct Deployment {
    pub(in crate::store) id: DeploymentId,
    /// The random part, kept so that it can be stored again after the database was dropped.
    secret: [u8; 16],
    set_name: String,
}

impl Deployment {
    pub(in crate::store) fn of(secret: [u8; 16], set_name: &str, database: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [&secret[..], set_name.as_bytes(), database.as_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut id = [0; 6];
        id.copy_from_slice(&hash.finalize()[..6]);
        Self {
            id: DeploymentId(id),
            secret,
            set_name: set_name.to_owned(),
        }
    }
}

impl Store {
    /// Whether the deployment was stored when this node last looked.
    pub(in crate::store) fn has_stored_deployment(&self) -> bool {
        self.inner.deployment.get().is_some()
    }

    /// Stores the deployment if it is missing. If another node was first, its value counts.
    pub(in crate::store) async fn keep_deployment(&self) -> Result<(), StoreError> {
        let ours = self.known_deployment().clone();
        let secret = self
            .with_deadline(keep(self.database(), ours.secret))
            .await?;
        let stored = Deployment::of(secret, &ours.set_name, self.database_name());
        if self.inner.deployment.get_or_init(|| stored).secret != secret {
            tracing::warn!(
                "the stored deployment has changed: cursors that this node issues are foreign to it"
            );
        }
        Ok(())
    }
}

/// Reads the stored random value.
pub(in crate::store) async fn stored(
    database: &Database,
) -> mongodb::error::Result<Option<[u8; 16]>> {
    let records = database.collection::<Document>(MIGRATIONS);
    let found = records.find_one(doc! {"_id": DEPLOYMENT}).await?;
    Ok(found.as_ref().and_then(secret))
}

/// Reads the stored random value. If there is none, stores `candidate`.
async fn keep(database: &Database, candidate: [u8; 16]) -> mongodb::error::Result<[u8; 16]> {
    let candidate = Bson::Binary(Binary {
        subtype: BinarySubtype::Generic,
        bytes: candidate.to_vec(),
    });
    let records = database.collection::<Document>(MIGRATIONS);
    let modify = || {
        records
            .find_one_and_update(
                doc! {"_id": DEPLOYMENT},
                doc! {"$setOnInsert": {"secret": candidate.clone()}},
            )
            .upsert(true)
            .return_document(ReturnDocument::After)
    };
    let stored = match modify().await {
        // Two nodes inserted at once: now the other one's is there.
        Err(error) if error::code(&error) == Some(11_000) => modify().await?,
        answer => answer?,
    };
    stored
        .as_ref()
        .and_then(secret)
        .ok_or_else(|| Error::custom("the stored deployment has no secret of 16 bytes".to_owned()))
}

fn secret(stored: &Document) -> Option<[u8; 16]> {
    let secret = stored.get_binary_generic("secret").ok()?;
    secret.as_slice().try_into().ok()
}
