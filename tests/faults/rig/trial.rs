//! A trial: one fault or two at once are injected, held and healed, and the world recovers.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::time::{Instant, sleep};

use super::{faults::Fault, life::Life, record::Incident, world::World};

/// Time for every watcher to get an event that was published after the fault was healed.
const RECOVERY: Duration = Duration::from_mins(2);

/// Injects the faults one after another, holds them, heals them, and waits until every watcher is served again.
pub(crate) async fn trial(
    world: &mut World,
    life: &Life,
    faults: &[Fault],
    hold: Duration,
) -> Result<()> {
    let mut injected = Vec::new();
    for fault in faults {
        let began = world.notebook.now();
        // Recorded first, so that its effects on clients come after it.
        let incident = Incident {
            fault: fault.to_string(),
            alone: faults.len() == 1,
            place: fault.place(),
            began,
            ended: Duration::MAX,
            mark: u64::MAX,
            recovered: Duration::MAX,
        };
        let number = world.notebook.note(|notes| {
            notes.incidents.push(incident);
            notes.incidents.len() - 1
        });
        let remedy = fault
            .inject(world)
            .await
            .with_context(|| format!("injecting {fault}"))?;
        injected.push((
            *fault,
            remedy,
            number,
            world.notebook.now(),
            world.notebook.number(),
        ));
    }
    sleep(hold).await;
    let mut marks = Vec::new();
    for (fault, remedy, number, injected_at, injected_mark) in injected.into_iter().rev() {
        fault
            .heal(remedy, world)
            .await
            .with_context(|| format!("healing {fault}"))?;
        let (ended, mark) = if fault.is_sudden() {
            (injected_at, injected_mark)
        } else {
            (world.notebook.now(), world.notebook.number())
        };
        world.notebook.note(|notes| {
            notes.incidents[number].ended = ended;
            notes.incidents[number].mark = mark;
        });
        marks.push(number);
    }
    recover(world, life, faults).await?;
    let recovered = world.notebook.now();
    for number in marks {
        world
            .notebook
            .note(|notes| notes.incidents[number].recovered = recovered);
    }
    Ok(())
}

/// Waits until every watcher has got an event that was published after now.
async fn recover(world: &World, life: &Life, faults: &[Fault]) -> Result<()> {
    let mark = world.notebook.number();
    let begun = Instant::now();
    loop {
        // Collections that were dropped are made again by those who need them.
        let ensured = life.ensure_standing(world).await;
        let behind = world.notebook.note(|notes| {
            let behind = notes.ticks.iter().filter(|(_, tick)| **tick <= mark);
            behind
                .map(|(name, tick)| format!("{name} at {tick}"))
                .collect::<Vec<_>>()
        });
        if ensured.is_ok() && behind.is_empty() {
            break;
        }
        if begun.elapsed() > RECOVERY {
            let logs: Vec<_> = world.nodes.iter().map(super::node::Node::log).collect();
            let logs = logs.join("\n");
            bail!("after {faults:?}: nothing beyond {mark} for {behind:?}, {ensured:?}\n{logs}");
        }
        sleep(Duration::from_millis(50)).await;
    }
    for node in &world.nodes {
        node.until_ready().await?;
    }
    Ok(())
}
