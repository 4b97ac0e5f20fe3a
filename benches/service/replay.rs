//! Replayed events a second to one socket, from memory and from the database's history, beside a bare
//! change stream of the driver that is drained over the same stretch in the same run.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use mongodb::{
    bson::{Document, RawDocumentBuf, doc},
    options::FullDocumentType,
};
use tidegate::{
    client::{Socket, Start},
    position::Cursor,
};

use crate::{
    peers::node::Node,
    rig::{socket, table::median},
};

const EVENTS: u32 = 200_000;
const ROUNDS: u32 = 5;
/// All of them fit.
const REMEMBER: [(&str, &str); 1] = [("TIDEGATE_FEED__WINDOW_BYTES", "1000000000")];
/// Nothing is remembered, so that every round reads the history.
const FORGET: [(&str, &str); 1] = [("TIDEGATE_FEED__WINDOW_BYTES", "0")];

pub(crate) async fn run() -> Result<()> {
    let node = Node::start().await?.restart(&REMEMBER).await?;
    let id = node.subscribe(serde_json::json!({"type": "tick"})).await?;
    let (mut socket, cursor) = socket::connect_at(&node.client, &id, &Start::Unset).await?;
    // Whoever was there all the time has them then: so has the node's memory.
    tokio::try_join!(fill(&node), drain(&mut socket))?;
    drop(socket);
    let mut memory = Vec::new();
    for _ in 0..ROUNDS {
        memory.push(replay(&node, &id, &cursor).await?);
    }
    let node = node.restart(&FORGET).await?;
    let (mut bare, mut history) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(bare_stream(&node, &cursor).await?);
        history.push(replay(&node, &id, &cursor).await?);
    }
    let reference = median(bare.clone());
    for (name, rates) in [
        ("bare change stream", &bare),
        ("from the history", &history),
        ("from memory", &memory),
    ] {
        println!(
            "replay {name}: {:.0} events/s, {:.2} of the bare change stream (median of {ROUNDS}; all: {rates:.0?})",
            median(rates.clone()),
            median(rates.clone()) / reference
        );
    }
    node.stop().await
}

fn rate(elapsed: Duration) -> f64 {
    f64::from(EVENTS) / elapsed.as_secs_f64()
}

async fn fill(node: &Node) -> Result<()> {
    let events = node.database.collection::<Document>("events");
    let data = "x".repeat(100);
    for first in (0..EVENTS).step_by(1_000) {
        let some =
            (first..first + 1_000).map(|n| doc! {"type": "tick", "n": i64::from(n), "data": &data});
        events.insert_many(some).await?;
    }
    Ok(())
}

async fn drain(socket: &mut Socket) -> Result<()> {
    for _ in 0..EVENTS {
        socket::next_text(socket).await?;
    }
    Ok(())
}

/// From the wish to the last event.
async fn replay(node: &Node, id: &str, cursor: &str) -> Result<f64> {
    let cpu = node.cpu()?;
    let start = Start::After(cursor.to_owned());
    let clock = Instant::now();
    let (mut socket, _) = socket::connect_at(&node.client, id, &start).await?;
    drain(&mut socket).await?;
    let elapsed = clock.elapsed();
    let spent = node.cpu()?.saturating_sub(cpu) / EVENTS;
    println!("  a replay of {EVENTS} events took {elapsed:.2?}, {spent:?} of server CPU each");
    Ok(rate(elapsed))
}

/// The same events by the driver alone, raw: nothing is decoded that is not needed to count.
async fn bare_stream(node: &Node, cursor: &str) -> Result<f64> {
    let from = Cursor::parse(cursor)?.position.cluster_time();
    let clock = Instant::now();
    let events = node.database.collection::<Document>("events");
    let mut stream = events
        .watch()
        .start_at_operation_time(from)
        .full_document(FullDocumentType::WhenAvailable)
        .batch_size(2_000)
        .await?
        .with_type::<RawDocumentBuf>();
    let mut left = EVENTS;
    while left > 0 {
        if let Some(change) = stream.next_if_any().await? {
            change.get_document("fullDocument").context("an insert")?;
            left -= 1;
        }
    }
    Ok(rate(clock.elapsed()))
}
