//! The time from a delete in the database to the last closed socket, with 1,000 sockets on two nodes, beside the
//! receipt of the same delete by a bare change stream of the driver.

use std::time::Instant;

use anyhow::Result;
use futures_util::{StreamExt as _, future::try_join_all};
use mongodb::{
    bson::{Document, doc},
    change_stream::event::OperationType,
};
use tidegate::client::{Received, Socket};

use crate::{
    peers::node::Node,
    rig::{numbers::percentile, socket},
};

const SOCKETS_A_NODE: usize = 500;
const ROUNDS: usize = 50;
const DELETED: u16 = 4500;

pub(crate) async fn run() -> Result<()> {
    let node = Node::start().await?;
    let other = node.sibling().await?;
    let (mut bare, mut last, mut behind) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (received, closed) = round(&node, &other).await?;
        bare.push(received);
        last.push(closed);
        behind.push(closed - received);
    }
    for (name, samples) in [
        ("bare change stream has the delete", &mut bare),
        ("last of 1,000 sockets closed", &mut last),
        ("last close after the stream", &mut behind),
    ] {
        let (p50, p99) = (percentile(samples, 50), percentile(samples, 99));
        println!("teardown, {ROUNDS} deletes: {name}: p50 {p50} µs, p99 {p99} µs");
    }
    other.stop().await?;
    node.stop().await
}

/// Creates a subscription, opens its sockets and deletes it. Returns the microseconds from just before the delete to
/// its receipt by the bare stream, and to the last close.
async fn round(node: &Node, other: &Node) -> Result<(i64, i64)> {
    let id = node.subscribe(serde_json::json!({"type": "never"})).await?;
    let mut sockets = Vec::new();
    for host in [node, other] {
        let connecting = (0..SOCKETS_A_NODE).map(|_| socket::connect(&host.client, &id));
        sockets.extend(try_join_all(connecting).await?);
    }
    let subscriptions = node.database.collection::<Document>("subscriptions");
    let mut stream = node.database.watch().await?;
    let watching = tokio::spawn(async move {
        while let Some(change) = stream.next().await {
            if change?.operation_type == OperationType::Delete {
                return Ok(Instant::now());
            }
        }
        anyhow::bail!("the bare stream ended")
    });
    let closing: Vec<_> = sockets
        .into_iter()
        .map(|s| tokio::spawn(closed(s)))
        .collect();
    let begun = Instant::now();
    subscriptions.delete_one(doc! {"_id": id}).await?;
    let received = watching.await??;
    let mut last = begun;
    for closed in closing {
        last = last.max(closed.await??);
    }
    let micros = |at: Instant| i64::try_from((at - begun).as_micros());
    Ok((micros(received)?, micros(last)?))
}

/// Waits for the close of a socket whose subscription is deleted. Returns the time.
async fn closed(mut socket: Socket) -> Result<Instant> {
    loop {
        match socket.next().await {
            Received::Closed(DELETED, _) => return Ok(Instant::now()),
            Received::Text(_) | Received::Alive => {}
            other => anyhow::bail!("not closed as deleted: {other:?}"),
        }
    }
}
