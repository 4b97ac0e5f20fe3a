//! How far back the oplog reaches, and what bounds it.

use std::time::Duration;

use bson::{Bson, Document, Timestamp, doc};
use mongodb::{Client, Database};

use super::{PATIENCE, permitted};
use crate::store::{
    StoreError,
    oplog::{earliest, fill, oldest_entry},
};

/// Between two looks for the time of a set that is new.
const PAUSE: Duration = Duration::from_millis(100);

/// The oplog of one member. What may not be read is `None`.
#[derive(Clone, Debug)]
pub struct Oplog {
    /// The time of the oldest entry.
    pub begin: Option<Timestamp>,
    /// The newest time of the cluster.
    pub now: Timestamp,
    /// Bytes in it, and how many there may be before the oldest go.
    pub bytes: Option<(u64, u64)>,
    /// `oplogMinRetentionHours`: entries younger than this stay, whatever the size. 0: size alone counts.
    pub min_retention_hours: Option<f64>,
}

pub(super) async fn read(client: &Client) -> Result<Oplog, StoreError> {
    let admin = client.database("admin");
    let now = cluster_time(&admin).await?;
    let status = permitted(
        admin
            .run_command(doc! {"serverStatus": 1, "oplog": 1})
            .await,
    )?;
    let begin = match permitted(oldest_entry(client, PATIENCE).await)?.flatten() {
        Some(begin) => Some(begin),
        None => status.as_ref().and_then(earliest),
    };
    Ok(Oplog {
        begin,
        now,
        bytes: bytes(client).await?,
        min_retention_hours: status.as_ref().and_then(min_retention),
    })
}

/// The newest time of the cluster. A set that was initiated a moment ago tells none until it has the keys to sign
/// it with.
async fn cluster_time(admin: &Database) -> Result<Timestamp, StoreError> {
    loop {
        let hello = admin.run_command(doc! {"hello": 1}).await?;
        match hello.get_timestamp("operationTime") {
            Ok(now) => return Ok(now),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn bytes(client: &Client) -> Result<Option<(u64, u64)>, StoreError> {
    let stats = doc! {"collStats": "oplog.rs"};
    let stats = permitted(client.database("local").run_command(stats).await)?;
    let fill = stats.as_ref().and_then(fill);
    Ok(fill.map(|fill| (fill.bytes, fill.max_bytes)))
}

/// The server leaves the field out where no minimum is set.
fn min_retention(status: &Document) -> Option<f64> {
    let truncation = status.get_document("oplogTruncation").ok()?;
    match truncation.get("oplogMinRetentionHours") {
        None => Some(0.0),
        Some(Bson::Double(hours)) => Some(*hours),
        Some(Bson::Int32(hours)) => Some(f64::from(*hours)),
        Some(_) => None,
    }
}
