//! Ten thousand clients with cursors return to a node that has just started: the time until all are live, and the load
//! on the database.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mongodb::bson::{Document, doc};
use tidegate::client::{Socket, Start};

use crate::{peers::node::Node, rig::socket};

const CLIENTS: usize = 10_000;
const SUBSCRIPTIONS: usize = 10;
const EVENTS: usize = 100;
/// Clients that connect at once.
const AT_ONCE: usize = 500;

pub(crate) async fn run() -> Result<()> {
    let node = Node::start().await?;
    let mut ids = Vec::new();
    for _ in 0..SUBSCRIPTIONS {
        ids.push(node.subscribe(serde_json::json!({"type": "tick"})).await?);
    }
    let mut socket = socket::connect(&node.client, &ids[0]).await?;
    publish(&node, 0..EVENTS).await?;
    let mut cursors = Vec::new();
    while cursors.len() < EVENTS {
        cursors.push(socket::cursor(&socket::next_text(&mut socket).await?)?);
    }
    drop(socket);

    let node = Arc::new(node.restart(&[]).await?);
    let cpu = node.cpu()?;
    let begun = Instant::now();
    let resuming = stream::iter(0..CLIENTS).map(|client| {
        let (id, seen) = (&ids[client % SUBSCRIPTIONS], client % EVENTS);
        resume(&node, id, &cursors, seen)
    });
    let mut sockets: Vec<Socket> = resuming.buffer_unordered(AT_ONCE).try_collect().await?;
    let recovered = begun.elapsed();
    let spent = node.cpu()?.saturating_sub(cpu);
    let streams = node.metric("tidegate_replay_streams_total").await?;
    println!(
        "return: {CLIENTS} clients with cursors have all they missed after {recovered:.2?}, {spent:.2?} of server \
         CPU, {streams} change streams"
    );
    publish(&node, EVENTS..EVENTS + 1).await?;
    for socket in &mut sockets {
        expect(socket, EVENTS).await?;
    }
    println!(
        "return: an event published then has reached all of them after {:.2?}",
        begun.elapsed().saturating_sub(recovered)
    );
    drop(sockets);
    match Arc::into_inner(node) {
        Some(node) => node.stop().await,
        None => bail!("a client still runs"),
    }
}

async fn publish(node: &Node, numbers: std::ops::Range<usize>) -> Result<()> {
    let events = node.database.collection::<Document>("events");
    let some = numbers.map(|n| doc! {"type": "tick", "n": i64::try_from(n).unwrap_or(0)});
    events.insert_many(some).await?;
    Ok(())
}

/// Connects with the cursor of an event, and reads everything up to the last one.
async fn resume(node: &Node, id: &str, cursors: &[String], seen: usize) -> Result<Socket> {
    let start = Start::After(cursors[seen].clone());
    let (mut socket, _) = socket::connect_at(&node.client, id, &start).await?;
    for n in seen + 1..cursors.len() {
        expect(&mut socket, n).await?;
    }
    Ok(socket)
}

async fn expect(socket: &mut Socket, n: usize) -> Result<()> {
    let waiting = tokio::time::timeout(Duration::from_mins(1), socket::next_text(socket));
    let text = waiting.await??;
    let message: serde_json::Value = serde_json::from_str(&text)?;
    if message["event"]["n"] != n {
        bail!("expected {n}, got {text}");
    }
    Ok(())
}
