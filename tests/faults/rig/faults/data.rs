//! Operations of people who may write to the database and mean something else.

use std::time::Duration;

use anyhow::{Result, bail};
use bson::{Document, doc};
use mongodb::error::{Error, ErrorKind};
use tokio::time::sleep;

use super::Remedy;
use crate::rig::world::{DATABASE, World};

/// The attempts to rename, and the pause between two.
const ATTEMPTS: usize = 200;
const PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn drop_subscriptions(world: &World) -> Result<Remedy> {
    world.subscriptions().drop().await?;
    Ok(Remedy::Nothing)
}

pub(super) async fn drop_events(world: &World) -> Result<Remedy> {
    world.events().drop().await?;
    Ok(Remedy::Nothing)
}

pub(super) async fn drop_database(world: &World) -> Result<Remedy> {
    world.database().drop().await?;
    restore_keys(world).await
}

pub(super) async fn drop_keys(world: &World) -> Result<Remedy> {
    world
        .database()
        .collection::<Document>("keys")
        .drop()
        .await?;
    restore_keys(world).await
}

/// Stores the operator's key again. Clients get other keys.
async fn restore_keys(world: &World) -> Result<Remedy> {
    for _ in 0..ATTEMPTS {
        match world.keyring.restore().await {
            Ok(()) => return Ok(Remedy::Nothing),
            Err(_) => sleep(PAUSE).await,
        }
    }
    bail!("the operator's key cannot be stored")
}

pub(super) async fn rename_subscriptions(world: &World) -> Result<Remedy> {
    let number = world.notebook.number();
    let rename = doc! {
        "renameCollection": format!("{DATABASE}.subscriptions"),
        "to": format!("{DATABASE}.subscriptions_{number}"),
    };
    let admin = world.direct.database("admin");
    for _ in 0..ATTEMPTS {
        match admin.run_command(rename.clone()).await {
            Ok(_) => return Ok(Remedy::Nothing),
            // The service is still setting up what was dropped before.
            Err(error) if is_passing(&error) => sleep(PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
    bail!("the subscriptions cannot be renamed")
}

/// Whether the collection does not exist yet, or an index is being built on it.
fn is_passing(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(error) if matches!(error.code, 26 | 12_587))
}
