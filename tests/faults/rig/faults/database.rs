//! Faults of the database's members.

use anyhow::Result;
use bson::{Document, doc};

use super::Remedy;
use crate::rig::world::World;

/// The time for which a primary that stepped down may not be elected again.
const STEP_DOWN_SECONDS: i32 = 10;

/// Every command that the service sends, except `hello`, with which the driver finds the members.
const COMMANDS: [&str; 18] = [
    "find",
    "getMore",
    "aggregate",
    "count",
    "distinct",
    "insert",
    "update",
    "delete",
    "findAndModify",
    "commitTransaction",
    "abortTransaction",
    "ping",
    "buildInfo",
    "create",
    "createIndexes",
    "collMod",
    "listIndexes",
    "listCollections",
];

pub(super) async fn step_down(world: &mut World) -> Result<Remedy> {
    let primary = world.cluster.primary().await?;
    let command = doc! {"replSetStepDown": STEP_DOWN_SECONDS, "force": true};
    world.on_member(primary, command).await?;
    Ok(Remedy::Nothing)
}

pub(super) async fn kill_primary(world: &mut World) -> Result<Remedy> {
    let primary = world.cluster.primary().await?;
    world.cluster.kill(primary).await;
    Ok(Remedy::Restart(vec![primary]))
}

pub(super) async fn pause_primary(world: &mut World) -> Result<Remedy> {
    let primary = world.cluster.primary().await?;
    world.cluster.pause(primary)?;
    Ok(Remedy::Resume(primary))
}

pub(super) async fn kill_secondaries(world: &mut World, count: usize) -> Result<Remedy> {
    let primary = world.cluster.primary().await?;
    let others = (0..world.members.len()).filter(|member| *member != primary);
    let killed: Vec<_> = others.take(count).collect();
    for member in &killed {
        world.cluster.kill(*member).await;
    }
    Ok(Remedy::Restart(killed))
}

/// Makes the service's commands fail on every member. The suite's own commands do not fail.
pub(super) async fn fail_commands(world: &World, mut failure: Document) -> Result<Remedy> {
    failure.insert("appName", "tidegate");
    failure.insert("failCommands", COMMANDS.as_slice());
    configure(world, doc! {"mode": "alwaysOn", "data": failure}).await?;
    Ok(Remedy::Undo)
}

pub(super) async fn heal_commands(world: &World) -> Result<()> {
    configure(world, doc! {"mode": "off"}).await
}

async fn configure(world: &World, how: Document) -> Result<()> {
    let mut command = doc! {"configureFailPoint": "failCommand"};
    command.extend(how);
    for member in 0..world.members.len() {
        world.on_member(member, command.clone()).await?;
    }
    Ok(())
}
