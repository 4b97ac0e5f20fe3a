//! From before the insert to receipt, through the service and through a bare change stream of the
//! driver beside it, for the same events in one run.

use std::time::Duration;

use anyhow::Result;
use mongodb::{
    bson::{Document, doc},
    options::{FullDocumentType, WriteConcern},
};

use crate::{
    client,
    node::Node,
    numbers::{now_micros, percentile},
};

pub(crate) async fn run() -> Result<()> {
    for (rate, events) in [(100, 1_000), (1_000, 10_000)] {
        measure(rate, events).await?;
    }
    Ok(())
}

async fn measure(rate: u32, count: usize) -> Result<()> {
    let node = Node::start().await?;
    let id = node.subscribe(serde_json::json!({"type": "tick"})).await?;
    let mut socket = client::connect(&node, &id).await?;
    let events = node.database.collection::<Document>("events");
    let mut stream = events
        .watch()
        .full_document(FullDocumentType::UpdateLookup)
        .await?;
    let bare = tokio::spawn(async move {
        let mut samples = Vec::with_capacity(count);
        while samples.len() < count {
            let Some(change) = stream.next_if_any().await? else {
                continue;
            };
            let sent = change
                .full_document
                .and_then(|d| d.get_i64("sent").ok())
                .unwrap_or(0);
            samples.push(now_micros() - sent);
        }
        anyhow::Ok(samples)
    });
    let served = tokio::spawn(async move {
        let mut samples = Vec::with_capacity(count);
        for _ in 0..count {
            let text = client::next_text(&mut socket).await?;
            let message: serde_json::Value = serde_json::from_str(&text)?;
            samples.push(now_micros() - message["event"]["sent"].as_i64().unwrap_or(0));
        }
        anyhow::Ok(samples)
    });
    publish(&node, rate, count).await?;
    let mut samples = served.await??;
    let mut bare = bare.await??;
    for (name, samples) in [
        ("bare change stream", &mut bare),
        ("tidegate", &mut samples),
    ] {
        let (p50, p99) = (percentile(samples, 50), percentile(samples, 99));
        println!(
            "latency at {rate}/s: {name}: p50 {p50} µs, p99 {p99} µs ({} events)",
            samples.len()
        );
    }
    node.stop().await
}

/// Inserts events one by one at this rate, each with the time before its insert.
pub(crate) async fn publish(node: &Node, rate: u32, count: usize) -> Result<()> {
    let events = node.database.collection::<Document>("events");
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    let mut inserts = tokio::task::JoinSet::new();
    for _ in 0..count {
        ticks.tick().await;
        let events = events.clone();
        inserts.spawn(async move {
            let event = doc! {"type": "tick", "sent": now_micros(), "data": "x".repeat(200)};
            events
                .insert_one(event)
                .write_concern(WriteConcern::majority())
                .await
        });
    }
    while let Some(inserted) = inserts.join_next().await {
        inserted??;
    }
    Ok(())
}
