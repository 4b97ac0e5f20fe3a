//! Server CPU per delivered message: 1,000 sockets on one subscription, 20 events/s of 200 bytes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use mongodb::bson::{Document, doc};

use crate::{client, node::Node};

const SOCKETS: u32 = 1_000;
const EVENTS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) async fn run() -> Result<()> {
    let node = Node::start().await?;
    let id = node.subscribe(serde_json::json!({"type": "tick"})).await?;
    let received = Arc::new(AtomicU64::new(0));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..SOCKETS {
        let mut socket = client::connect(&node, &id).await?;
        let received = Arc::clone(&received);
        readers.spawn(async move {
            while client::next_text(&mut socket).await.is_ok() {
                received.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let events = node.database.collection::<Document>("events");
    let cpu = node.cpu()?;
    for n in 0..EVENTS {
        let data = "x".repeat(200);
        let n = i64::from(n);
        events
            .insert_one(doc! {"type": "tick", "n": n, "data": data})
            .await?;
        tokio::time::sleep(PAUSE).await;
    }
    let wanted = EVENTS * SOCKETS;
    while received.load(Ordering::Relaxed) < u64::from(wanted) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let spent = node.cpu()?.saturating_sub(cpu);
    let each = spent.as_secs_f64() * 1e6 / f64::from(wanted);
    println!("fanout: {wanted} messages to {SOCKETS} sockets, {each:.2} µs of server CPU each");
    readers.abort_all();
    node.stop().await
}
