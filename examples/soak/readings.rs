//! Readings of the resources of a node and the database, at intervals.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use bson::doc;
use mongodb::Client;
use tokio::{task::JoinHandle, time::interval};
use tokio_util::sync::CancellationToken;

use crate::rig::{record::Notebook, world::World};

/// The time between two readings.
const INTERVAL: Duration = Duration::from_secs(5);

/// One reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) at: Duration,
    pub(crate) resident_kb: u64,
    pub(crate) descriptors: usize,
    /// Open cursors of the primary; `None` while there is no primary.
    pub(crate) cursors: Option<i64>,
}

/// Readings that go on until they are stopped.
pub(crate) struct Readings {
    stop: CancellationToken,
    task: JoinHandle<Vec<Reading>>,
}

impl Readings {
    /// Watches the process of a node, which must not be killed meanwhile.
    pub(crate) fn start(world: &World, node: usize) -> Result<Self> {
        let stop = CancellationToken::new();
        let id = world.nodes[node].id()?;
        let (direct, notebook) = (world.direct.clone(), world.notebook.clone());
        let reading = read_on(id, direct, notebook, stop.clone());
        Ok(Self {
            stop,
            task: tokio::spawn(reading),
        })
    }

    /// Stops, and returns all readings.
    pub(crate) async fn stop(self) -> Result<Vec<Reading>> {
        self.stop.cancel();
        Ok(self.task.await?)
    }
}

/// Reads a node at rest once.
pub(crate) async fn of(world: &World, node: usize) -> Result<Reading> {
    read(world.nodes[node].id()?, &world.direct, &world.notebook).await
}

async fn read_on(
    id: u32,
    direct: Client,
    notebook: Notebook,
    stop: CancellationToken,
) -> Vec<Reading> {
    let mut readings = Vec::new();
    let mut interval = interval(INTERVAL);
    while stop.run_until_cancelled(interval.tick()).await.is_some() {
        // The process is gone: the run fails for better reasons.
        let Ok(reading) = read(id, &direct, &notebook).await else {
            break;
        };
        readings.push(reading);
    }
    readings
}

async fn read(id: u32, direct: &Client, notebook: &Notebook) -> Result<Reading> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.context("VmRSS")?.split_whitespace().next();
    Ok(Reading {
        at: notebook.now(),
        resident_kb: resident.context("VmRSS")?.parse()?,
        descriptors: fs::read_dir(format!("/proc/{id}/fd"))?.count(),
        cursors: cursors(direct).await,
    })
}

async fn cursors(direct: &Client) -> Option<i64> {
    let command = doc! {"serverStatus": 1};
    let status = direct.database("admin").run_command(command).await.ok()?;
    let metrics = status.get_document("metrics").ok()?;
    let open = metrics
        .get_document("cursor")
        .ok()?
        .get_document("open")
        .ok()?;
    open.get_i64("total").ok()
}
