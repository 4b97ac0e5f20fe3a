//! `POST /events` in batches, beside a bare `insert_many` into a collection with the same validator and indexes on the
//! same mongod, with one bare change stream open on it.

use std::time::Instant;

use anyhow::Result;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mongodb::{
    Collection,
    bson::{Document, doc},
    options::WriteConcern,
};
use reqwest::Method;
use serde_json::{Value, json};
use tidegate::client::Client;

use crate::{
    peers::{node::Node, tidegate::stored},
    rig::{
        numbers::now_micros,
        stream as changes,
        table::{Goal, Row, median},
    },
};

const BATCH: u64 = 1_000;
/// Requests in flight at once.
const AT_ONCE: usize = 2;

pub(crate) async fn run() -> Result<Vec<Row>> {
    compare(40, 3).await
}

pub(crate) async fn compare(batches: u64, windows: usize) -> Result<Vec<Row>> {
    let node = Node::start().await?;
    let bare = node.bare_database()?;
    let open = changes::raw(&bare, None).await?;
    let open = tokio::spawn(changes::read_on(open));
    let events = bare.collection::<Document>("events");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for window in 0..windows as u64 {
        let first = window * batches;
        let before = node.both_cpu()?;
        ours.push(by_rest(&node.client, first..first + batches).await?);
        let each = node.cpu_each(before, batches * BATCH)?;
        println!("  POST /events: {each}");
        let before = node.both_cpu()?;
        theirs.push(by_driver(&events, batches).await?);
        let each = node.cpu_each(before, batches * BATCH)?;
        println!("  insert_many: {each}");
    }
    open.abort();
    node.stop().await?;
    Ok(vec![Row {
        case: format!("publishing batches of {BATCH}, {AT_ONCE} at a time"),
        unit: "events/s",
        ours: median(ours),
        beside: Some(("bare insert_many", median(theirs))),
        goal: Some(Goal::AtLeast(0.7)),
    }])
}

async fn by_rest(client: &Client, batches: std::ops::Range<u64>) -> Result<f64> {
    let count = batches.end - batches.start;
    // Built before the clock starts, because JSON is the client's work.
    let bodies: Vec<Vec<u8>> = batches
        .map(|batch| {
            let event = |n| {
                json!({"id": format!("{batch}-{n}"), "source": "/bench", "type": "tick",
                    "data": {"sent": now_micros(), "fill": "x".repeat(150)}})
            };
            serde_json::to_vec(&(0..BATCH).map(event).collect::<Vec<Value>>())
        })
        .collect::<Result<_, _>>()?;
    let begun = Instant::now();
    stream::iter(bodies)
        .map(async |body| {
            let request = client.request(Method::POST, &["events"]).body(body);
            let request = request.header("content-type", "application/json");
            let answer = client.call(request).await?.body;
            anyhow::ensure!(answer["accepted"] == BATCH, "{answer}");
            Ok(())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    Ok(per_second(count * BATCH, begun))
}

async fn by_driver(events: &Collection<Document>, batches: u64) -> Result<f64> {
    let documents: Vec<Vec<Document>> = (0..batches)
        .map(|_| {
            let sent = now_micros();
            let data = |_| doc! {"sent": sent, "fill": "x".repeat(150)};
            (0..BATCH).map(|n| stored(n, data(n))).collect()
        })
        .collect();
    let begun = Instant::now();
    stream::iter(documents)
        .map(async |batch| {
            let inserting = events.insert_many(batch).ordered(false);
            inserting.write_concern(WriteConcern::majority()).await
        })
        .buffer_unordered(AT_ONCE)
        .try_for_each(async |_| Ok(()))
        .await?;
    Ok(per_second(batches * BATCH, begun))
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub(crate) fn per_second(count: u64, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}
