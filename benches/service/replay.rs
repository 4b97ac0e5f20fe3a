//! Replayed events per second to one socket, from the backlog in memory and from the oplog, beside a bare change stream
//! of the driver over the same stretch in the same run.

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
/// A backlog with room for all events.
const LARGE_BACKLOG: [(&str, &str); 1] = [("TIDEGATE_FEED__WINDOW_BYTES", "1000000000")];
/// No backlog, so that every round reads the oplog.
const NO_BACKLOG: [(&str, &str); 1] = [("TIDEGATE_FEED__WINDOW_BYTES", "0")];

pub(crate) async fn run() -> Result<()> {
    let node = Node::start().await?.restart(&LARGE_BACKLOG).await?;
    let id = node.subscribe(serde_json::json!({"type": "tick"})).await?;
    let (mut socket, cursor) = socket::connect_at(&node.client, &id, &Start::Unset).await?;
    // Once a client that was there all the time has them, the backlog has them too.
    tokio::try_join!(fill(&node), drain(&mut socket))?;
    drop(socket);
    let mut backlog = Vec::new();
    for _ in 0..ROUNDS {
        backlog.push(replay(&node, &id, &cursor).await?);
    }
    let node = node.restart(&NO_BACKLOG).await?;
    let (mut bare, mut oplog) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(bare_stream(&node, &cursor).await?);
        oplog.push(replay(&node, &id, &cursor).await?);
    }
    let reference = median(bare.clone());
    for (name, rates) in [
        ("bare change stream", &bare),
        ("from the oplog", &oplog),
        ("from the backlog", &backlog),
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

/// Measures from the request to the last event.
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

/// Measures the same events by the driver alone. They stay raw: only what counting needs is decoded.
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
