//! The oplog's reach into the past, and its bounds.

use std::time::Duration;

use bson::{Bson, Document, Timestamp, doc};
use mongodb::{Client, Database};

use super::{CHECKUP_TIMEOUT, permitted};
use crate::store::{
    StoreError,
    oplog::{earliest, fill, oldest_entry},
};

/// Pause between two questions for the time of a new set.
const PAUSE: Duration = Duration::from_millis(100);

/// The oplog of one member. Fields that may not be read are `None`.
#[derive(Clone, Debug)]
pub struct Oplog {
    /// The time of the oldest entry.
    pub begin: Option<Timestamp>,
    /// The newest time of the cluster.
    pub now: Timestamp,
    /// Bytes in it, and the most before the oldest entries go.
    pub bytes: Option<(u64, u64)>,
    /// `oplogMinRetentionHours`: younger entries stay, whatever the size. 0 means that only the size counts.
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
    let begin = match permitted(oldest_entry(client, CHECKUP_TIMEOUT).await)?.flatten() {
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

/// Returns the newest time of the cluster. A set that was initiated a moment ago tells none until it has the
/// keys to sign it.
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

/// Reads the minimum retention. The server leaves the field out if none is set.
fn min_retention(status: &Document) -> Option<f64> {
    let truncation = status.get_document("oplogTruncation").ok()?;
    match truncation.get("oplogMinRetentionHours") {
        None => Some(0.0),
        Some(Bson::Double(hours)) => Some(*hours),
        Some(Bson::Int32(hours)) => Some(f64::from(*hours)),
        Some(_) => None,
    }
}
