//! Faults of those who may write to the database, and mean something else.

use anyhow::Result;
use bson::doc;

use super::Remedy;
use crate::rig::world::{DATABASE, World};

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
    Ok(Remedy::Nothing)
}

pub(super) async fn rename_subscriptions(world: &World) -> Result<Remedy> {
    let number = world.notebook.number();
    let rename = doc! {
        "renameCollection": format!("{DATABASE}.subscriptions"),
        "to": format!("{DATABASE}.subscriptions_{number}"),
    };
    world.direct.database("admin").run_command(rename).await?;
    Ok(Remedy::Nothing)
}
