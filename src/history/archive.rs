//! The archive reader: events that the oplog no longer has, from the collection `events` itself.
//!
//! It reads in the order of `ts`, which is the order of commits except for inserts that ran at the same time. To lose
//! none of those, it begins a little earlier than asked, and so may repeat events: it delivers at least once.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bson::{DateTime, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp};
use tokio::time::{sleep, timeout};

use super::{ATTEMPTS, Refusal, wait_available};
use crate::{
    event::TS_FIELD,
    position::{Position, date_of},
    router::{Operation, PastBatch, PastChange, PastChangeKind, RouterHandle, Span},
    store::{PageKey, Store, StoreError, event_page_key, jittered},
    telemetry::{Health, Metrics},
    turns::{Turn, Turns},
};

/// Added to the overlap, for delays beside a transaction's lifetime.
const OVERLAP_SLACK: Duration = Duration::from_secs(10);
/// The server looks for expired transactions every half of their lifetime, but at least so often.
const EXPIRY_CHECK_INTERVAL: Duration = Duration::from_mins(1);
/// The oldest tenth of the oplog is not relied on: it is overwritten while a replay goes on.
const MARGIN_DIVISOR: u32 = 10;
/// Ids kept to remove repeats: 10,000 events a second for as long as an insert may take.
const MAX_DELIVERED_IDS: usize = 1_000_000;
/// The pause between two attempts to read, times their number.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The collection `events`, as a source of replays.
#[derive(Clone, Debug)]
pub(super) struct Archive {
    pub(super) store: Store,
    pub(super) metrics: Arc<Metrics>,
    /// Turns at reading a page. So many are read at once.
    pub(super) turns: Turns,
    /// The tenant whose turns they are.
    pub(super) tenant: Option<Box<str>>,
    pub(super) wait: Duration,
    /// `None` where everybody may read everything.
    pub(super) guard: Option<Guard>,
}

/// The bounds on reading beside the feed, whose order decides all else.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    /// Tells that the feed is behind: a right may be gone that this node still knows.
    pub(super) health: Health,
    /// Knows how far rights are applied.
    pub(super) router: RouterHandle,
}

/// A reader of archived events, page by page as its client wants them.
#[derive(Debug)]
pub(crate) struct ArchiveReader {
    archive: Archive,
    /// Retention has deleted the events before this.
    pub kept_from: Position,
    /// True if there may be events that this reader cannot show.
    pub lacks_some: bool,
    /// The first `ts` to read.
    start: Timestamp,
    /// The time by which `start` precedes the position asked for: from its `ts` to its commit, an insert takes less.
    overlap: Duration,
    /// Positions of events do not fall below this.
    position: Position,
    to: Position,
    after: Option<PageKey>,
    over: bool,
}

impl Archive {
    /// Opens a reader of the events after `from` that the oplog does not have, `to` at most.
    pub(super) async fn open(self, from: Position, to: Position) -> Result<ArchiveReader, Refusal> {
        let _turn = self.turn().await?;
        let oldest = with_retries(&self.store, self.wait, || self.store.oplog_begin()).await?;
        let to = match oldest.map(relied_on) {
            Some(begin) if begin > from && begin < to => begin,
            _ => to,
        };
        let now = with_retries(&self.store, self.wait, || self.store.server_time()).await?;
        let overlap = overlap(
            with_retries(&self.store, self.wait, || self.store.transaction_lifetime()).await?,
        );
        let retention = i64::try_from(self.store.retention().as_millis()).unwrap_or(i64::MAX);
        let kept_from = at_millis(now.timestamp_millis().saturating_sub(retention)).min(to);
        let since = from.max(kept_from).cluster_time();
        // If that takes too long, nothing is known, and events may be missing.
        let undated = self
            .store
            .has_events_without_ts(since, to.cluster_time())
            .await;
        let start = earlier(since, overlap);
        let guessed = (self.store)
            .may_miss_estimated(start, since, to.cluster_time())
            .await;
        Ok(ArchiveReader {
            kept_from,
            lacks_some: undated.unwrap_or(true) || guessed.unwrap_or(true),
            start,
            overlap,
            position: from.max(kept_from),
            to,
            after: None,
            over: false,
            archive: self,
        })
    }

    /// Returns the latest commit that may be shown, where rights count: the router's position. Nothing is shown then that
    /// was committed behind a change of rights that is not applied yet.
    fn as_of(&self) -> Option<Timestamp> {
        let guard = self.guard.as_ref()?;
        Some(guard.router.progress().position.cluster_time())
    }

    /// Waits for the turn of a reader. Refuses it while this node does not know what was revoked last.
    async fn turn(&self) -> Result<Turn, Refusal> {
        let taking = self.turns.take(self.tenant.as_deref());
        let turn = timeout(self.wait, taking)
            .await
            .map_err(|_| Refusal::Busy)?;
        let guard = self.guard.as_ref();
        if guard.is_none_or(|guard| guard.health.ready().is_ok()) {
            Ok(turn)
        } else {
            Err(Refusal::Busy)
        }
    }
}

/// The point where the archive ends for a replay and the next source (the oplog, or the backlog) takes over.
///
/// The archive is ordered by `ts`, the next source by commit. An event whose `ts` lies before the seam may have been
/// committed behind it, so both may show it. Within `overlap_seconds` of the seam a replay therefore keeps the ids that it
/// delivered from the archive ([`DeliveredIds`]), and drops the repeats from the next source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seam {
    at: Position,
    overlap_seconds: u32,
}

impl ArchiveReader {
    /// Returns the point where this reader ends, and another source takes over.
    pub(crate) fn seam(&self) -> Seam {
        Seam {
            at: self.to,
            overlap_seconds: seconds(self.overlap),
        }
    }

    /// Returns the next page; its changes are events alone, at positions that never fall. `None` after the last page,
    /// whose position is where this reader ends.
    pub(crate) async fn next(&mut self) -> Result<Option<Arc<PastBatch>>, Refusal> {
        if self.over {
            return Ok(None);
        }
        let _turn = self.archive.turn().await?;
        self.archive.metrics.replay.archive_pages.inc();
        let (start, end, after) = (self.start, self.to.cluster_time(), self.after.as_ref());
        let store = &self.archive.store;
        let reply = with_retries(store, self.archive.wait, || {
            store.read_archive(start, end, after, self.archive.as_of())
        })
        .await?;
        let batch = match reply {
            Some(reply) => self.read(reply)?,
            None => None,
        };
        self.over = batch.is_none();
        Ok(Some(Arc::new(batch.unwrap_or_else(|| {
            PastBatch::new(RawDocumentBuf::new(), Vec::new(), self.to, Instant::now())
        }))))
    }

    /// Reads a page; `None` if it is empty. A page that cannot be read ends the reader: without knowing where it
    /// ends, the next page would be the same.
    fn read(&mut self, reply: RawDocumentBuf) -> Result<Option<PastBatch>, Refusal> {
        let mut changes = Vec::new();
        let mut position = self.position;
        for event in events_of(&reply)? {
            self.after = Some(event_page_key(event, false).map_err(|_| unreadable())?);
            let ts = event.get_timestamp(TS_FIELD).map_err(|_| unreadable())?;
            position = position.max(Position::at(ts));
            let span = Span::within(&reply, event).ok_or_else(unreadable)?;
            let kind = PastChangeKind::Operation(Operation::event(span));
            changes.push(PastChange::new(position, date_of(ts.time), kind));
        }
        if changes.is_empty() {
            return Ok(None);
        }
        self.position = position;
        Ok(Some(PastBatch::new(
            reply,
            changes,
            position,
            Instant::now(),
        )))
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
    tracing::error!("a page of archived events cannot be read");
    Refusal::Busy
}

/// The ids of delivered events that may come again from the next source.
#[derive(Debug, Default)]
pub(crate) struct DeliveredIds {
    ids: HashSet<u128>,
    until: u32,
}

impl DeliveredIds {
    /// Adds an event that was delivered at `at`, if the source behind `seam` may repeat it.
    pub(crate) fn add(&mut self, event: &RawDocument, at: Position, seam: Seam) {
        let (seam, overlap) = (seam.at.cluster_time().time, seam.overlap_seconds);
        self.until = seam.saturating_add(overlap);
        let near = at.cluster_time().time >= seam.saturating_sub(overlap);
        if near && self.ids.len() < MAX_DELIVERED_IDS {
            self.ids.insert(fingerprint(event));
        }
    }

    /// Returns the bytes of memory that the ids take.
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

/// Tries again while the database is unavailable, but not for ever.
async fn with_retries<T, F>(
    store: &Store,
    wait: Duration,
    ask: impl Fn() -> F,
) -> Result<T, Refusal>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for attempt in 1..=ATTEMPTS {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => tracing::debug!(%error, "archived events cannot be read yet"),
        }
        wait_available(store, wait).await;
        sleep(jittered(RETRY_PAUSE * attempt)).await;
    }
    Err(Refusal::Busy)
}

/// Returns the position from which on the oplog will still be there when a reader gets to it.
fn relied_on(oldest: Timestamp) -> Position {
    let now = u32::try_from(DateTime::now().timestamp_millis() / 1_000).unwrap_or(u32::MAX);
    let margin = now.saturating_sub(oldest.time) / MARGIN_DIVISOR;
    Position::at(Timestamp {
        time: oldest.time.saturating_add(margin.max(1)),
        increment: 0,
    })
}

/// Returns the longest time from an event's `ts` to its commit, where transactions may live so long.
fn overlap(lifetime: Duration) -> Duration {
    lifetime
        .saturating_add(EXPIRY_CHECK_INTERVAL.min(lifetime / 2))
        .saturating_add(OVERLAP_SLACK)
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

#[cfg(test)]
mod tests {
    use super::*;
    use bson::rawdoc;

    #[test]
    fn delivered_ids_count_until_the_next_source_is_past_its_overlap() {
        let at = |time| Position::at(Timestamp { time, increment: 1 });
        let seam = Seam {
            at: at(1_000),
            overlap_seconds: 100,
        };
        let mut delivered = DeliveredIds::default();
        delivered.add(&rawdoc! {"_id": "far"}, at(899), seam);
        assert_eq!(delivered.bytes(), 0);
        let near = rawdoc! {"_id": "near"};
        delivered.add(&near, at(900), seam);
        assert!(delivered.bytes() >= size_of::<u128>());
        assert!(delivered.has(&near, at(1_100)));
        assert!(!delivered.has(&near, at(1_101)));
        assert_eq!(delivered.bytes(), 0);
    }
}
