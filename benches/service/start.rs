//! A start with 1,000,000 subscriptions in the database: the time from the process's start to ready, beside a bare
//! cursor that reads the same documents one by one and in raw batches.

use std::time::Instant;

use anyhow::Result;
use futures_util::TryStreamExt as _;
use mongodb::{
    Client, Collection,
    bson::{Document, doc},
};

use crate::{
    peers::node::{self, Node},
    rig::table::{Goal, Row, median},
};

const SUBSCRIPTIONS: u32 = 1_000_000;
const BATCH: u32 = 20_000;
/// Rounds. Each reads the documents and starts a node.
const ROUNDS: usize = 5;

pub(crate) async fn run() -> Result<Vec<Row>> {
    let mongod = node::mongod().await?;
    node::migrate(&mongod.uri(), "tidegate")?;
    let client = Client::with_uri_str(mongod.uri()).await?;
    let subscriptions = client
        .database("tidegate")
        .collection::<Document>("subscriptions");
    fill(&subscriptions).await?;
    // The first read warms the database's cache for both sides.
    read_batches(&subscriptions).await?;
    let (mut bare, mut ready, mut each) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let batches = read_batches(&subscriptions).await?;
        let cursor = read(&subscriptions).await?;
        let begun = Instant::now();
        let node = Node::on_both_cores(&mongod.uri(), "tidegate", &[]).await?;
        let took = begun.elapsed().as_secs_f64();
        each = node.resident()? / u64::from(SUBSCRIPTIONS);
        node.stop().await?;
        println!("  {took:.2} s; a bare cursor {cursor:.2} s, in raw batches {batches:.2} s");
        bare.push(cursor);
        ready.push(took);
    }
    mongod.stop().await;
    let (bare, ready) = (median(bare), median(ready));
    let row = |unit, ours, beside, goal| Row {
        case: format!("start with {SUBSCRIPTIONS} subscriptions"),
        unit,
        ours,
        beside,
        goal: Some(Goal::AtMost(goal)),
    };
    #[expect(clippy::cast_precision_loss, reason = "a few hundred bytes")]
    let each = each as f64;
    Ok(vec![
        row("s until ready", ready, Some(("bare cursor", bare)), 3.0),
        row("bytes resident each, in all", each, None, 600.0),
    ])
}

async fn fill(subscriptions: &Collection<Document>) -> Result<()> {
    for first in (0..SUBSCRIPTIONS).step_by(BATCH as usize) {
        let batch = (first..first + BATCH).map(|n| {
            let account = i64::from(n % 100_000);
            doc! {"_id": format!("sub_{n:032}"), "filter": {
                "type": format!("t{}", n % 50), "account": account, "amount": {"$gte": i64::from(n % 9_000)},
            }}
        });
        subscriptions.insert_many(batch).await?;
    }
    Ok(())
}

/// Reads everything with a bare cursor, raw documents one by one. Returns the seconds it took.
async fn read(subscriptions: &Collection<Document>) -> Result<f64> {
    let begun = Instant::now();
    let mut cursor = subscriptions.find(doc! {}).await?;
    while cursor.advance().await? {
        std::hint::black_box(cursor.current());
    }
    Ok(begun.elapsed().as_secs_f64())
}

/// Does the same without a look at single documents.
async fn read_batches(subscriptions: &Collection<Document>) -> Result<f64> {
    let begun = Instant::now();
    let mut batches = subscriptions.find(doc! {}).batch().await?;
    while let Some(batch) = batches.try_next().await? {
        std::hint::black_box(batch);
    }
    Ok(begun.elapsed().as_secs_f64())
}
