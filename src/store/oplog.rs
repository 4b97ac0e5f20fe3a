//! The oplog: its reach into the past, and how full it is.

use std::time::Duration;

use bson::{Bson, Document, Timestamp, doc};
use mongodb::{Client, error::Error, options::ReadConcern};

use super::{Store, StoreError, client::error::code};

/// The most attempts to read the oldest entry.
const ATTEMPTS: u32 = 5;

/// `CappedPositionLost`: the server removed the entry that was being read.
pub(crate) const CAPPED_POSITION_LOST: i32 = 136;

/// The server's parameter that bounds the life of a transaction.
const LIFETIME: &str = "transactionLifetimeLimitSeconds";
/// Its default.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(1);

impl Store {
    /// Returns the time of the oldest entry of the oplog. `None` if the user lacks the right to read it (`read`
    /// on the database `local`, or `clusterMonitor`), or the cluster has no single oplog.
    pub async fn oplog_begin(&self) -> Result<Option<Timestamp>, StoreError> {
        let limit = self.server_limit();
        match self.probe(oldest_entry(self.client(), limit)).await {
            Ok(found) => Ok(found),
            Err(StoreError::NotPermitted { .. }) => self.oplog_begin_by_status().await,
            Err(error) => Err(error),
        }
    }

    /// Returns the time for which a transaction may be open before the server ends it. If the user lacks the
    /// right to read it (`clusterMonitor`), this is the server's default.
    pub async fn transaction_lifetime(&self) -> Result<Duration, StoreError> {
        let parameter = doc! {"getParameter": 1, LIFETIME: 1};
        let admin = self.client().database("admin");
        let seconds = match self.probe(admin.run_command(parameter)).await {
            Ok(answer) => number(&answer),
            Err(StoreError::NotPermitted { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(seconds.map_or(DEFAULT_LIFETIME, Duration::from_secs))
    }

    /// Measures how full the oplog is. `None` if the user lacks the right to ask (`read` on the database
    /// `local`, or `clusterMonitor`).
    pub async fn oplog_fill(&self) -> Result<Option<OplogFill>, StoreError> {
        let stats = doc! {"collStats": "oplog.rs"};
        let local = self.client().database("local");
        match self.probe(local.run_command(stats)).await {
            Ok(stats) => Ok(fill(&stats)),
            Err(StoreError::NotPermitted { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn oplog_begin_by_status(&self) -> Result<Option<Timestamp>, StoreError> {
        let status = doc! {"serverStatus": 1, "oplog": 1};
        let admin = self.client().database("admin");
        match self.probe(admin.run_command(status)).await {
            Ok(status) => Ok(earliest(&status)),
            Err(StoreError::NotPermitted { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The fill of the oplog.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OplogFill {
    /// Bytes in it.
    pub bytes: u64,
    /// Bytes that it may have before the oldest entries go.
    pub max_bytes: u64,
}

impl OplogFill {
    /// Whether the oldest entries go now, or soon will: the server removes up to a tenth at once.
    pub fn is_full(self) -> bool {
        self.bytes >= self.max_bytes / 5 * 4
    }

    /// Estimates the seconds until the oldest entry goes, if the oplog filled in `window_seconds` and goes on at
    /// that rate.
    pub fn spare_seconds(self, window_seconds: u32) -> u32 {
        let room = self.max_bytes.saturating_sub(self.bytes);
        if self.is_full() {
            return 0;
        }
        let spare = u128::from(window_seconds) * u128::from(room) / u128::from(self.bytes.max(1));
        u32::try_from(spare).unwrap_or(u32::MAX)
    }
}

/// Reads the fill from the answer to `collStats`, if it says so.
pub(super) fn fill(stats: &Document) -> Option<OplogFill> {
    Some(OplogFill {
        bytes: whole(stats, "size")?,
        max_bytes: whole(stats, "maxSize")?,
    })
}

/// Reads a number of bytes, which servers write in any type that holds it.
fn whole(stats: &Document, field: &str) -> Option<u64> {
    match stats.get(field)? {
        Bson::Int32(bytes) => u64::try_from(*bytes).ok(),
        Bson::Int64(bytes) => u64::try_from(*bytes).ok(),
        #[expect(clippy::cast_possible_truncation, reason = "a number of bytes")]
        Bson::Double(bytes) => u64::try_from(*bytes as i64).ok(),
        _ => None,
    }
}

/// Returns the time of the oldest entry. The server may work on each attempt for `limit`. If the entry goes
/// while it is read, another one is the oldest.
pub(super) async fn oldest_entry(
    client: &Client,
    limit: Duration,
) -> Result<Option<Timestamp>, Error> {
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    let mut attempt = 1;
    loop {
        let found = oplog
            .find_one(doc! {})
            .sort(doc! {"$natural": 1})
            .projection(doc! {"ts": 1})
            .read_concern(ReadConcern::local())
            .max_time(limit)
            .await;
        match found {
            Err(error) if code(&error) == Some(CAPPED_POSITION_LOST) && attempt < ATTEMPTS => {
                attempt += 1;
            }
            found => return Ok(found?.and_then(|entry| entry.get_timestamp("ts").ok())),
        }
    }
}

fn number(answer: &Document) -> Option<u64> {
    match answer.get(LIFETIME)? {
        Bson::Int32(seconds) => u64::try_from(*seconds).ok(),
        Bson::Int64(seconds) => u64::try_from(*seconds).ok(),
        _ => None,
    }
}

/// Reads the time of the oldest entry from the answer to `serverStatus`.
pub(super) fn earliest(status: &Document) -> Option<Timestamp> {
    let oplog = status.get_document("oplog").ok()?;
    let earliest = oplog.get_document("earliestOptime").ok()?;
    earliest.get_timestamp("ts").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oplog_with_room_loses_nothing_until_it_is_full() {
        let fill = |bytes| OplogFill {
            bytes,
            max_bytes: 1_000,
        };
        for (bytes, full, spare) in [
            (80, false, 690),
            (799, false, 15),
            (800, true, 0),
            (2_000, true, 0),
        ] {
            assert_eq!(fill(bytes).is_full(), full, "{bytes}");
            assert_eq!(fill(bytes).spare_seconds(60), spare, "{bytes}");
        }
        assert_eq!(fill(0).spare_seconds(u32::MAX), u32::MAX);
    }
}
