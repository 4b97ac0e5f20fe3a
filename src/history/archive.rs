//! Replay of what the oplog no longer has: from the collection of events itself.
//!
//! In the order of `ts`, which is that of commits but for inserts that ran at the same time. To lose none of
//! those, a reading begins a little earlier than asked, and so may repeat: it is at least once.

use std::{
    collections::HashSet,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use bson::{DateTime, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::{ATTEMPTS, Refusal, returned};
use crate::{
    event::TS_FIELD,
    position::Position,
    router::{Batch, Change, ChangeKind, Counted},
    store::{PageKey, Store, StoreError, event_page_key, jittered},
    telemetry::Metrics,
};

/// Added to how much earlier a reading begins, for what takes a moment beside a transaction's time.
const SLACK: Duration = Duration::from_secs(10);
/// The server looks for transactions that have had their time as often as half of it, but at least so often.
const LOOKS: Duration = Duration::from_mins(1);
/// How much of the oplog, from its oldest end, is not relied on: it is overwritten while this goes on.
const MARGIN_DIVISOR: u32 = 10;
/// Ids that are remembered to remove repeats: 10,000 events a second for as long as an insert may take.
const REMEMBERED: usize = 1_000_000;
/// Between two attempts to read.
const PAUSE: Duration = Duration::from_millis(200);

/// What late replays work with.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    pub(super) store: Store,
    pub(super) metrics: Arc<Metrics>,
    /// Pages that may be read at the same time.
    pub(super) permits: Arc<Semaphore>,
    pub(super) wait: Duration,
}

/// A reading of old events, page by page as its client wants them.
#[derive(Debug)]
pub(crate) struct Late {
    shelf: Shelf,
    /// Before this, events are gone already.
    pub kept_from: Position,
    /// Whether there may be events that this cannot show.
    pub lacks_some: bool,
    /// The first `ts` that is read.
    start: Timestamp,
    /// How much earlier that is than asked: an insert takes less than this from its `ts` to its commit.
    overlap: Duration,
    /// Positions of events do not fall below this.
    position: Position,
    to: Position,
    after: Option<PageKey>,
    over: bool,
}

impl Shelf {
    /// Events after `from`, as far as the oplog does not have them, and `to` at most.
    pub(super) async fn open(self, from: Position, to: Position) -> Result<Late, Refusal> {
        let _permit = self.permit().await?;
        let oldest = patiently(&self.store, self.wait, || self.store.oplog_begin()).await?;
        let to = match oldest.map(relied_on) {
            Some(begin) if begin > from && begin < to => begin,
            _ => to,
        };
        let now = patiently(&self.store, self.wait, || self.store.server_time()).await?;
        let overlap =
            overlap(patiently(&self.store, self.wait, || self.store.transaction_lifetime()).await?);
        let retention = i64::try_from(self.store.retention().as_millis()).unwrap_or(i64::MAX);
        let kept_from = at_millis(now.timestamp_millis().saturating_sub(retention)).min(to);
        let since = from.max(kept_from).cluster_time();
        // Where that takes too long nothing is known, and something may be missing.
        let undated = self
            .store
            .has_events_without_ts(since, to.cluster_time())
            .await;
        let start = earlier(since, overlap);
        let guessed = (self.store)
            .may_lack_guessed(start, since, to.cluster_time())
            .await;
        Ok(Late {
            kept_from,
            lacks_some: undated.unwrap_or(true) || guessed.unwrap_or(true),
            start,
            overlap,
            position: from.max(kept_from),
            to,
            after: None,
            over: false,
            shelf: self,
        })
    }

    async fn permit(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Refusal> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        let permit = timeout(self.wait, permit)
            .await
            .map_err(|_| Refusal::Busy)?;
        permit.map_err(|_| Refusal::Busy)
    }
}

/// Where one source ends and another takes over, which may repeat what was committed so many seconds
/// before or after.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seam {
    at: Position,
    overlap: u32,
}

impl Late {
    /// Where this ends, and another source takes over.
    pub(crate) fn seam(&self) -> Seam {
        Seam {
            at: self.to,
            overlap: seconds(self.overlap),
        }
    }

    /// The next page; its changes are events alone, at positions that never fall. `None` behind the
    /// last, with which everything up to its position is shown.
    pub(crate) async fn next(&mut self) -> Result<Option<Arc<Batch>>, Refusal> {
        if self.over {
            return Ok(None);
        }
        let _permit = self.shelf.permit().await?;
        self.shelf.metrics.replay_pages.inc();
        let (start, end, after) = (self.start, self.to.cluster_time(), self.after.as_ref());
        let store = &self.shelf.store;
        let reply = patiently(store, self.shelf.wait, || {
            store.old_events(start, end, after)
        })
        .await?;
        let batch = match reply {
            Some(reply) => self.read(reply)?,
            None => None,
        };
        self.over = batch.is_none();
        Ok(Some(Arc::new(batch.unwrap_or_else(|| Batch {
            reply: RawDocumentBuf::new(),
            changes: Vec::new(),
            position: self.to,
            received_at: Instant::now(),
            counted: Counted::default(),
            unapplied: None,
        }))))
    }

    /// A page, unless it is empty. One that cannot be read ends the reading: without knowing where it
    /// ends, the next one would be the same.
    fn read(&mut self, reply: RawDocumentBuf) -> Result<Option<Batch>, Refusal> {
        let mut changes = Vec::new();
        let mut position = self.position;
        for event in events_of(&reply)? {
            self.after = Some(event_page_key(event, false).map_err(|_| unreadable())?);
            let ts = event.get_timestamp(TS_FIELD).map_err(|_| unreadable())?;
            position = position.max(Position::at(ts));
            let kind = ChangeKind::Event(range_in(reply.as_bytes(), event.as_bytes()));
            changes.push(Change::new(position, date_of(ts), kind));
        }
        if changes.is_empty() {
            return Ok(None);
        }
        self.position = position;
        Ok(Some(Batch {
            changes,
            position,
            received_at: Instant::now(),
            counted: Counted::default(),
            unapplied: None,
            reply,
        }))
    }
}

fn events_of(reply: &RawDocument) -> Result<Vec<&RawDocument>, Refusal> {
    let cursor = reply.get_document("cursor").map_err(|_| unreadable())?;
    let batch = cursor.get_array("firstBatch").map_err(|_| unreadable())?;
    batch
        .into_iter()
        .map(|item| match item {
            Ok(RawBsonRef::Document(event)) => Ok(event),
            _ => Err(unreadable()),
        })
        .collect()
}

fn unreadable() -> Refusal {
    tracing::error!("a page of old events cannot be read");
    Refusal::Busy
}

/// Events that were delivered and may come again from the next source.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    ids: HashSet<u128>,
    until: u32,
}

impl Remembered {
    /// An event was delivered that a source which begins at `seam` may repeat.
    pub(crate) fn add(&mut self, event: &RawDocument, at: Position, seam: Seam) {
        let (seam, overlap) = (seam.at.cluster_time().time, seam.overlap);
        self.until = seam.saturating_add(overlap);
        let near = at.cluster_time().time >= seam.saturating_sub(overlap);
        if near && self.ids.len() < REMEMBERED {
            self.ids.insert(fingerprint(event));
        }
    }

    /// What it takes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.ids.capacity() * size_of::<u128>()
    }

    /// Whether an event at `at` was delivered already.
    pub(crate) fn has(&mut self, event: &RawDocument, at: Position) -> bool {
        if self.ids.is_empty() {
            return false;
        }
        if at.cluster_time().time > self.until {
            self.ids = HashSet::new();
            return false;
        }
        self.ids.contains(&fingerprint(event))
    }
}

fn fingerprint(event: &RawDocument) -> u128 {
    let mut id = RawDocumentBuf::new();
    if let Ok(Some(value)) = event.get("_id") {
        id.append(bson::raw::cstr!("_id"), bson::RawBson::from(value));
    }
    xxhash_rust::xxh3::xxh3_128(id.as_bytes())
}

/// Tries again while the database is away, but not for ever.
async fn patiently<T, F>(store: &Store, wait: Duration, ask: impl Fn() -> F) -> Result<T, Refusal>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for attempt in 1..=ATTEMPTS {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => tracing::debug!(%error, "old events cannot be read yet"),
        }
        returned(store, wait).await;
        sleep(jittered(PAUSE * attempt)).await;
    }
    Err(Refusal::Busy)
}

/// From where on the oplog will still be there when a reading gets to it.
fn relied_on(oldest: Timestamp) -> Position {
    let now = u32::try_from(DateTime::now().timestamp_millis() / 1_000).unwrap_or(u32::MAX);
    let margin = now.saturating_sub(oldest.time) / MARGIN_DIVISOR;
    Position::at(Timestamp {
        time: oldest.time.saturating_add(margin.max(1)),
        increment: 0,
    })
}

/// How long it can be from an event's `ts` to its commit, where transactions may live so long.
fn overlap(lifetime: Duration) -> Duration {
    lifetime
        .saturating_add(LOOKS.min(lifetime / 2))
        .saturating_add(SLACK)
}

fn seconds(span: Duration) -> u32 {
    u32::try_from(span.as_secs()).unwrap_or(u32::MAX)
}

fn earlier(time: Timestamp, by: Duration) -> Timestamp {
    Timestamp {
        time: time.time.saturating_sub(seconds(by)),
        increment: 0,
    }
}

fn at_millis(millis: i64) -> Position {
    let time = u32::try_from(millis.div_euclid(1_000)).unwrap_or(0);
    Position::at(Timestamp { time, increment: 0 })
}

fn date_of(time: Timestamp) -> DateTime {
    DateTime::from_millis(i64::from(time.time) * 1_000)
}

/// Where `part`, which lies in `whole`, lies in it.
fn range_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::rawdoc;

    #[test]
    fn what_is_remembered_counts_until_the_next_source_is_past_its_overlap() {
        let at = |time| Position::at(Timestamp { time, increment: 1 });
        let seam = Seam {
            at: at(1_000),
            overlap: 100,
        };
        let mut remembered = Remembered::default();
        remembered.add(&rawdoc! {"_id": "far"}, at(899), seam);
        assert_eq!(remembered.bytes(), 0);
        let near = rawdoc! {"_id": "near"};
        remembered.add(&near, at(900), seam);
        assert!(remembered.bytes() >= size_of::<u128>());
        assert!(remembered.has(&near, at(1_100)));
        assert!(!remembered.has(&near, at(1_101)));
        assert_eq!(remembered.bytes(), 0);
    }
}
