//! The time from just before the insert to receipt, through the service and through a bare change stream of the driver
//! beside it, for the same events in one run.

use std::time::Duration;

use anyhow::Result;
use mongodb::{
    bson::{Document, doc},
    options::{FullDocumentType, WriteConcern},
};

use crate::{
    peers::node::Node,
    rig::{
        numbers::{now_micros, percentile},
        socket,
        table::{Goal, Row},
    },
};

/// Other subscriptions, which match nothing.
const SUBSCRIPTIONS: u32 = 10_000;

/// Percentiles of the service and of the bare stream, in microseconds.
pub(crate) struct Latency {
    pub(crate) ours: [i64; 2],
    pub(crate) bare: [i64; 2],
}

pub(crate) async fn run() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (rate, events) in [(100, 2_000), (1_000, 10_000)] {
        let latency = measure(rate, events, SUBSCRIPTIONS).await?;
        let percentiles = [("p50", 0, 0.3), ("p99", 1, 3.0)];
        rows.extend(percentiles.map(|(name, at, most)| latency.over(rate, name, at, most)));
    }
    Ok(rows)
}

impl Latency {
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a short run")]
    fn over(&self, rate: u32, name: &str, at: usize, most: f64) -> Row {
        let (ours, bare) = (self.ours[at], self.bare[at]);
        Row {
            case: format!("commit to socket at {rate}/s, {name} {ours} µs, bare stream {bare} µs"),
            unit: "ms more than the bare stream",
            ours: (ours - bare) as f64 / 1e3,
            beside: None,
            goal: Some(Goal::AtMost(most)),
        }
    }
}

/// Measures `count` events at a rate, with `others` subscriptions that match nothing.
pub(crate) async fn measure(rate: u32, count: usize, others: u32) -> Result<Latency> {
    let node = Node::start().await?;
    let other = |n| serde_json::json!({"type": "other", "data.account": n});
    node.subscribe_many((0..others).map(other).collect())
        .await?;
    let id = node.subscribe(serde_json::json!({"type": "tick"})).await?;
    let mut socket = socket::connect(&node.client, &id).await?;
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
            let text = socket::next_text(&mut socket).await?;
            let message: serde_json::Value = serde_json::from_str(&text)?;
            samples.push(now_micros() - message["event"]["sent"].as_i64().unwrap_or(0));
        }
        anyhow::Ok(samples)
    });
    publish(&node, rate, count, &tick()).await?;
    let mut samples = served.await??;
    let mut bare = bare.await??;
    node.stop().await?;
    Ok(Latency {
        ours: [50, 99].map(|percent| percentile(&mut samples, percent)),
        bare: [50, 99].map(|percent| percentile(&mut bare, percent)),
    })
}

/// Returns an event to publish, without what [`publish`] sets.
pub(crate) fn tick() -> Document {
    doc! {"data": "x".repeat(200)}
}

/// Inserts events like this one by one at a rate. Each carries the time just before its insert.
pub(crate) async fn publish(node: &Node, rate: u32, count: usize, event: &Document) -> Result<()> {
    let events = node.database.collection::<Document>("events");
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    let mut inserts = tokio::task::JoinSet::new();
    for _ in 0..count {
        ticks.tick().await;
        let (events, mut event) = (events.clone(), event.clone());
        inserts.spawn(async move {
            event.insert("type", "tick");
            event.insert("sent", now_micros());
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
