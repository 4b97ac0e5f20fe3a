//! The rate at which feed and router work off events when hardly any match, beside a bare raw change stream that drains
//! the same events of the same mongod.

use std::time::{Duration, Instant};

use anyhow::Result;
use mongodb::bson::{Document, doc};

use crate::{
    peers::{
        node::Node,
        tidegate::{events_of, stored},
    },
    rig::{
        load::Load,
        stream,
        table::{Goal, Row, median},
    },
};

const SUBSCRIPTIONS: u32 = 10_000;
const BATCH: u64 = 5_000;
const SETTLED: Duration = Duration::from_secs(2);

pub(crate) async fn run() -> Result<Vec<Row>> {
    compare(200_000, 3).await
}

/// Measures how soon the last event arrives. The service is suspended while events are inserted; only the last one
/// matches.
pub(crate) async fn compare(events: u64, windows: usize) -> Result<Vec<Row>> {
    let node = Node::start().await?;
    let filter = |n| serde_json::json!({"type": "tick", "data.account": n, "data.never": true});
    node.subscribe_many((0..SUBSCRIPTIONS).map(filter).collect())
        .await?;
    let id = node
        .subscribe(serde_json::json!({"data.last": true}))
        .await?;
    let mut load = Load::default();
    load.open(&node.address, vec![events_of(&id)]).await?;
    load.greeted(1).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
    let count = events as f64;
    for _ in 0..windows {
        let from = stream::operation_time(&node.database).await?;
        node.signal("STOP")?;
        fill(&node, events).await?;
        // The inserts leave work behind, journal and checkpoint. Neither side should compete with it.
        tokio::time::sleep(SETTLED).await;
        let received = load.tally.messages();
        let before = node.both_cpu()?;
        let begun = Instant::now();
        node.signal("CONT")?;
        load.received(received + 1).await?;
        let elapsed = begun.elapsed();
        ours.push(count / elapsed.as_secs_f64());
        let each = node.cpu_each(before, events)?;
        println!("  {events} events in {elapsed:.2?}: {each}");
        // The stream also brings documents that were inserted before `from` in the same second. None of them is an
        // event.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let before = node.both_cpu()?;
        let begun = Instant::now();
        let stream = stream::raw(&node.database, Some(from)).await?;
        stream::drain(stream, events).await?;
        let elapsed = begun.elapsed();
        theirs.push(count / elapsed.as_secs_f64());
        let each = node.cpu_each(before, events)?;
        println!("  the bare stream in {elapsed:.2?}: {each}");
    }
    load.all_open()?;
    drop(load);
    node.stop().await?;
    Ok(vec![Row {
        case: format!("feed to router, {events} events, {SUBSCRIPTIONS} subscriptions, one match"),
        unit: "events/s",
        ours: median(ours),
        beside: Some(("bare raw change stream", median(theirs))),
        goal: Some(Goal::AtLeast(0.9)),
    }])
}

async fn fill(node: &Node, count: u64) -> Result<()> {
    let events = node.database.collection::<Document>("events");
    for first in (0..count).step_by(usize::try_from(BATCH)?) {
        let batch = (first..count.min(first + BATCH)).map(|n| {
            let account = i64::try_from(n % 20_000).unwrap_or(0);
            stored(n, doc! {"account": account, "last": n + 1 == count})
        });
        events.insert_many(batch).ordered(false).await?;
    }
    Ok(())
}
