//! The memory of many keys, and the time to load them: starts with keys in the database beside starts without.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use mongodb::{
    Client, Collection,
    bson::{Binary, DateTime, Document, doc, spec::BinarySubtype},
};
use secrecy::SecretString;

use crate::{
    peers::{
        credentials::{SCOPES, SETTINGS, admin_key},
        node::{self, Node},
        tidegate::tenant,
    },
    rig::table::{Goal, Row, median},
};

/// The size of a comparison.
pub(crate) struct Size {
    pub(crate) keys: u32,
    pub(crate) rounds: usize,
}

/// The size of the figures that count.
pub(crate) const WHOLE: Size = Size {
    keys: 100_000,
    rounds: 5,
};

const TENANTS: u32 = 10_000;
const BATCH: usize = 10_000;
const HASH_BYTES: usize = 32;
/// The metric that counts keys.
const METRIC: &str = r#"tidegate_credentials{kind="key"}"#;

/// A database, and its administrator's key.
struct Side {
    database: &'static str,
    admin: SecretString,
    seconds: Vec<f64>,
    bytes: Vec<f64>,
}

/// Returns a row for each figure. `most` is the goal for the bytes of a key.
pub(crate) async fn run(size: &Size, most: Option<f64>) -> Result<Vec<Row>> {
    let mongod = node::mongod().await?;
    let uri = mongod.uri();
    let mut without = Side::new(&uri, "without")?;
    let mut with = Side::new(&uri, "with")?;
    let client = Client::with_uri_str(&uri).await?;
    fill(&client.database("with").collection("keys"), size.keys).await?;
    for _ in 0..size.rounds {
        without.start(&uri, 1).await?;
        with.start(&uri, 1 + size.keys).await?;
    }
    mongod.stop().await;
    let case = format!("start with {} keys", size.keys);
    let [seconds, seconds_without] = [&with, &without].map(|side| median(side.seconds.clone()));
    let [bytes, bytes_without] = [&with, &without].map(|side| median(side.bytes.clone()));
    let keys = f64::from(size.keys);
    let row = |unit, ours, beside, goal| Row {
        case: case.clone(),
        unit,
        ours,
        beside,
        goal,
    };
    let each = (bytes - bytes_without) / keys;
    let loading = (seconds - seconds_without) * 1e6 / keys;
    Ok(vec![
        row(
            "s until ready",
            seconds,
            Some(("without", seconds_without)),
            None,
        ),
        row("µs more for each key", loading, None, None),
        row(
            "bytes resident more for each key",
            each,
            None,
            most.map(Goal::AtMost),
        ),
    ])
}

impl Side {
    fn new(uri: &str, database: &'static str) -> Result<Self> {
        Ok(Self {
            database,
            admin: admin_key(uri, database)?,
            seconds: Vec::new(),
            bytes: Vec::new(),
        })
    }

    /// Starts a node, notes its figures, and makes sure that it knows so many keys.
    async fn start(&mut self, uri: &str, keys: u32) -> Result<()> {
        let begun = Instant::now();
        let node = Node::on_both_cores(uri, self.database, SETTINGS).await?;
        self.seconds.push(begun.elapsed().as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
        self.bytes.push(node.resident()? as f64);
        let node = node.presenting(self.admin.clone());
        let known = until_known(&node, keys).await;
        node.stop().await?;
        known
    }
}

/// Waits until the metric says that so many keys are known. It is published now and then.
async fn until_known(node: &Node, keys: u32) -> Result<()> {
    let mut known = 0.0;
    for _ in 0..100 {
        known = node.metric(METRIC).await?;
        if (known - f64::from(keys)).abs() < 0.5 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("{known} keys of {keys} are known")
}

/// Inserts keys as `POST /keys` stores them. Nobody has their texts.
async fn fill(keys: &Collection<Document>, count: u32) -> Result<()> {
    let (now, end) = (DateTime::now(), DateTime::MAX);
    let all: Vec<Document> = (0..count)
        .map(|n| {
            let mut bytes = vec![0; HASH_BYTES];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            let hash = Binary { subtype: BinarySubtype::Generic, bytes };
            doc! {
                "_id": format!("key_{n:010}"), "hash": hash, "scopes": SCOPES.to_vec(), "name": format!("key {n}"),
                "tenant": tenant(n % TENANTS), "expiresAt": end, "createdAt": now,
                "createdBy": "cli",
            }
        })
        .collect();
    for part in all.chunks(BATCH) {
        keys.insert_many(part).await?;
    }
    Ok(())
}
