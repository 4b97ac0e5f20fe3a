//! The cost of each further node for the database: mongod's CPU per event with no reader, with a bare change stream,
//! and with one and two nodes.

use std::time::Duration;

use anyhow::{Context as _, Result};
use mongodb::{
    Client, Database,
    bson::{Document, doc},
};
use tidegate::mongod::Mongod;

use crate::{
    peers::{
        node::{self, Node},
        tidegate::stored,
    },
    rig::{
        kernel, stream,
        table::{Goal, Row, median},
    },
};

const ROUNDS: usize = 5;
/// Events per second.
const RATE: u32 = 1_000;
/// Events per insert.
const BATCH: u32 = 10;
const SPAN: Duration = Duration::from_secs(4);

pub(crate) async fn run() -> Result<Vec<Row>> {
    let mongod = node::mongod().await?;
    let client = Client::with_uri_str(mongod.uri()).await?;
    let database = client.database("tidegate");
    // The first node makes the collections.
    drop(Node::serving(&mongod.uri(), &[]).await?);
    let (mut bare, mut first, mut second) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let alone = cpu_per_event(&mongod, &database).await?;
        let open = stream::raw(&database, None).await?;
        let open = tokio::spawn(stream::read_on(open));
        bare.push(cpu_per_event(&mongod, &database).await? - alone);
        open.abort();
        let one = Node::serving(&mongod.uri(), &[]).await?;
        let with_one = cpu_per_event(&mongod, &database).await?;
        let two = Node::serving(&mongod.uri(), &[]).await?;
        let with_two = cpu_per_event(&mongod, &database).await?;
        first.push(with_one - alone);
        second.push(with_two - with_one);
        drop((one, two));
    }
    mongod.stop().await;
    let bare = median(bare);
    let row = |case: &str, ours| Row {
        case: format!("{case}, {RATE} events/s"),
        unit: "µs of mongod's CPU an event",
        ours,
        beside: Some(("one bare change stream", bare)),
        goal: Some(Goal::AtMost(1.1)),
    };
    Ok(vec![
        row("the first node", median(first)),
        row("the second node", median(second)),
    ])
}

async fn cpu_per_event(mongod: &Mongod, database: &Database) -> Result<f64> {
    let process = mongod.id().context("mongod's process")?;
    let events = database.collection::<Document>("events");
    let mut ticks = tokio::time::interval(Duration::from_secs(1) * BATCH / RATE);
    let rounds = SPAN.as_secs_f64() * f64::from(RATE / BATCH);
    let (cpu, mut done) = (kernel::cpu(process)?, 0);
    while f64::from(done) < rounds {
        ticks.tick().await;
        let batch = (0..BATCH).map(|n| {
            stored(
                u64::from(n),
                doc! {"account": i64::from(n), "fill": "x".repeat(170)},
            )
        });
        events.insert_many(batch).await?;
        done += 1;
    }
    let spent = kernel::cpu(process)?.saturating_sub(cpu);
    Ok(spent.as_secs_f64() * 1e6 / f64::from(done * BATCH))
}
