//! The feed: sole owner of this node's change stream.
//!
//! It loads all subscriptions at one point in time, watches from exactly there, and hands the router
//! everything in commit order. Trouble in the database makes it wait and open again from the last
//! token, for as long as it takes; where the history is gone, it loads again by the very same code
//! and says that events may be missing. It never touches a socket and knows nothing of them.

mod change;
mod failure;
mod past;
mod stream;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bson::{RawDocument, RawDocumentBuf, Timestamp};
use rand::RngExt as _;
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

pub use self::past::{PastError, PastReader};
use self::{
    change::{Ours, Raw, Undecodable, range_in},
    failure::Remedy,
    stream::{ChangeStream, From, Options, Reply, StreamError},
};
use crate::{
    config,
    filter::Limits,
    position::Position,
    protocol::GapReason,
    router::{Batch, Change, ChangeKind, Compiled, FromFeed, Reload},
    store::Store,
    telemetry::{FeedState, Health, Metrics},
};

/// Changes in one reply at most: enough to drain fast, few enough to apply while the next is read.
const BATCH_SIZE: u32 = 2_000;
/// Newest changes older than this mean that the feed is behind.
const BEHIND_AFTER: u32 = 2;

/// The feed's task.
#[derive(Debug)]
pub struct Feed {
    /// Where the change stream is opened, and missing documents are looked up.
    pub store: Store,
    /// The way to the router. Bounded: a router that is behind makes the feed wait.
    pub router: mpsc::Sender<FromFeed>,
    /// Pauses and batch timing.
    pub settings: config::Feed,
    /// Bounds of filters.
    pub limits: Limits,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// Where it reports.
    pub health: Health,
}

/// Why the feed stopped following a stream.
enum Interrupted {
    /// Load everything again.
    Reload {
        cause: &'static str,
        missed: Option<GapReason>,
    },
    /// The router is gone: this node stops.
    RouterGone,
}

/// Where the feed stands.
struct Place {
    /// Where to open the next stream.
    from: From,
    /// Changes before this are known already.
    begin: Position,
    /// Changes up to here were handed over.
    position: Position,
}

impl Place {
    /// Behind a snapshot. The stream repeats the changes at the snapshot's time, which are in it. The
    /// time after that is not reached before the stream has said so: the next write may have it.
    fn behind(time: Timestamp) -> Self {
        Self {
            from: From::Time(time),
            begin: Position::at(after(time)),
            position: Position::at(time),
        }
    }
}

impl Feed {
    /// Follows the database until `stop`, or until the router is gone.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow_for_ever() => {}
        }
    }

    async fn follow_for_ever(&self) {
        let mut cause = "start";
        let mut missed = None;
        loop {
            let Some(mut place) = self.load(cause, missed).await else {
                return;
            };
            match self.follow(&mut place).await {
                Interrupted::Reload {
                    cause: why,
                    missed: what,
                } => {
                    tracing::warn!(cause = why, "loading all subscriptions again");
                    (cause, missed) = (why, what);
                }
                Interrupted::RouterGone => return,
            }
        }
    }

    /// Loads all subscriptions at one point in time. `None` if the router is gone.
    async fn load(&self, cause: &'static str, missed: Option<GapReason>) -> Option<Place> {
        let mut pause = self.pause();
        let snapshot = loop {
            let add = |all: &mut Vec<Compiled>, document: &RawDocument| {
                all.push(Compiled::read(document.to_owned(), &self.limits));
            };
            match self.store.load_subscriptions(Vec::new, add).await {
                Ok(snapshot) => break snapshot,
                Err(error) => {
                    tracing::warn!(%error, "the subscriptions cannot be loaded yet");
                    self.cut();
                    pause.wait().await;
                }
            }
        };
        self.metrics.feed_reloaded(cause);
        let time = snapshot.time;
        tracing::info!(
            subscriptions = snapshot.contents.len(),
            ?time,
            cause,
            "subscriptions are loaded"
        );
        let reload = Reload {
            subscriptions: snapshot.contents,
            time,
            missed,
        };
        self.router.send(FromFeed::Reload(reload)).await.ok()?;
        self.health.feed(FeedState::Current);
        Some(Place::behind(time))
    }

    /// Reads streams from `place` on, one after another, until that cannot go on.
    async fn follow(&self, place: &mut Place) -> Interrupted {
        let mut pause = self.pause();
        loop {
            let failed = match self.read_stream(place, &mut pause).await {
                Ok(interrupted) => return interrupted,
                Err(failed) => failed,
            };
            let (remedy, cause) = match &failed {
                StreamError::Driver(error) => (failure::remedy(error), failure::cause(error)),
                StreamError::Silent(_) => (Remedy::Reopen, "silent"),
                StreamError::Closed => (Remedy::Reopen, "closed"),
                StreamError::Malformed(_) => (Remedy::Reopen, "malformed"),
            };
            tracing::warn!(error = %failed, position = ?place.position, ?remedy, "the change stream ended");
            self.metrics.feed_resumed(cause);
            match remedy {
                Remedy::Reload => {
                    let missed = Some(GapReason::HistoryLost);
                    return Interrupted::Reload {
                        cause: "history_lost",
                        missed,
                    };
                }
                Remedy::StepOver => match self.step_over(place).await {
                    Ok(None) => {}
                    Ok(Some(interrupted)) => return interrupted,
                    Err(error) => {
                        tracing::warn!(%error, "the oversized change cannot be passed yet");
                        pause.wait().await;
                    }
                },
                Remedy::Reopen => {
                    if !matches!(failed, StreamError::Closed) {
                        self.cut();
                    }
                    pause.wait().await;
                }
            }
        }
    }

    /// Opens one stream and reads it to its end.
    async fn read_stream(
        &self,
        place: &mut Place,
        pause: &mut Pause,
    ) -> Result<Interrupted, StreamError> {
        let options = Options {
            max_await: self.settings.max_await,
            batch_size: BATCH_SIZE,
            keys_only: false,
        };
        let database = self.store.feed_database();
        let mut stream = ChangeStream::open(database, &place.from, options).await?;
        tracing::debug!(position = ?place.position, "the change stream is open");
        loop {
            let reply = stream.next().await?;
            pause.reset();
            if let Some(interrupted) = self.hand_over(reply, place).await? {
                return Ok(interrupted);
            }
        }
    }

    /// Decodes a reply and sends it on. `Some` if the stream cannot serve any longer.
    async fn hand_over(
        &self,
        reply: Reply,
        place: &mut Place,
    ) -> Result<Option<Interrupted>, StreamError> {
        let received_at = Instant::now();
        let mut changes = Vec::new();
        let mut interrupted = None;
        let mut token = None;
        for change in reply.changes()? {
            let raw = match Raw::decode(change) {
                Ok(raw) => raw,
                Err(error) => {
                    self.undecodable(&error, place.position, &mut changes);
                    continue;
                }
            };
            token = Some((raw.token, raw.position));
            if raw.position < place.begin {
                continue;
            }
            match self.understand(&raw, reply.document.as_bytes()).await {
                Meaning::Nothing => {}
                Meaning::Change(kind) => {
                    let (position, wall_time) = (raw.position, raw.wall_time);
                    changes.push(Change::new(position, wall_time, kind));
                }
                Meaning::Reload(cause) => {
                    let missed = Some(GapReason::Reloaded);
                    interrupted = Some(Interrupted::Reload { cause, missed });
                    break;
                }
            }
        }
        if interrupted.is_none() {
            token = reply.token().or(token);
        }
        if let Some((token, position)) = token {
            place.from = From::Token(token.to_owned());
            place.position = place.position.max(position);
        }
        self.report(&reply, &changes, place.position);
        let lag_seconds = lag(&reply, place.position);
        let batch = Batch {
            reply: reply.document,
            changes,
            position: place.position,
            lag_seconds,
            received_at,
        };
        if self.router.send(FromFeed::Batch(batch)).await.is_err() {
            return Ok(Some(Interrupted::RouterGone));
        }
        Ok(interrupted)
    }

    /// What a change means to the router.
    async fn understand(&self, raw: &Raw<'_>, reply: &[u8]) -> Meaning {
        match raw.renamed_to {
            // A collection was put in the place of one of ours (`$out` ends like this too).
            Some(Ours::Subscriptions) => {
                self.metrics.feed_oddity("renamed_onto");
                self.set_up_again().await;
                return Meaning::Reload("renamed_onto");
            }
            Some(Ours::Events) => {
                self.metrics.feed_oddity("renamed_onto");
                self.set_up_again().await;
                return Meaning::Nothing;
            }
            None => {}
        }
        match (raw.collection, raw.operation) {
            (Some(Ours::Events), "insert") => match raw.full_document {
                Some(document) => {
                    Meaning::Change(ChangeKind::Event(range_in(reply, document.as_bytes())))
                }
                None => self.odd("insert_without_document"),
            },
            (Some(Ours::Subscriptions), "insert" | "replace" | "update") => {
                self.upserted(raw).await
            }
            (Some(Ours::Subscriptions), "delete") => match raw.document_key {
                Some(key) => Meaning::Change(ChangeKind::Deleted(key.to_owned())),
                None => self.odd("delete_without_key"),
            },
            (Some(ours), "drop" | "rename") => self.gone(ours, raw.operation).await,
            (None, "dropDatabase") => self.odd("dropDatabase"),
            (None, "invalidate") => {
                // The whole database was dropped; the stream can go on after this.
                self.set_up_again().await;
                self.odd("invalidate")
            }
            _ => self.odd("other"),
        }
    }

    fn odd(&self, operation: &'static str) -> Meaning {
        tracing::info!(operation, "an unusual change");
        self.metrics.feed_oddity(operation);
        Meaning::Nothing
    }

    /// One of our collections was dropped or renamed away. Its documents are gone with it; what was
    /// set up for it (validator, indexes, images) is set up again.
    async fn gone(&self, ours: Ours, operation: &str) -> Meaning {
        tracing::warn!(collection = ?ours, operation, "a collection of ours is gone");
        self.metrics.feed_oddity(if operation == "drop" {
            "drop"
        } else {
            "renamed_away"
        });
        self.set_up_again().await;
        match ours {
            Ours::Subscriptions => Meaning::Change(ChangeKind::AllDeleted),
            Ours::Events => Meaning::Nothing,
        }
    }

    async fn set_up_again(&self) {
        if let Err(error) = self.store.repair().await {
            tracing::warn!(%error, "the collections cannot be set up again; run `tidegate migrate`");
        }
    }

    async fn upserted(&self, raw: &Raw<'_>) -> Meaning {
        let document = match raw.full_document {
            Some(document) => document.to_owned(),
            // No image: the collection was recreated without them, or the image is gone already.
            None => match self.look_up(raw).await {
                Some(document) => document,
                None => return Meaning::Nothing,
            },
        };
        let compiled = Compiled::read(document, &self.limits);
        Meaning::Change(ChangeKind::Upserted(Box::new(compiled)))
    }

    /// The document as it is now, which is at least as new as the change. `None` if it is gone
    /// meanwhile: its delete follows.
    async fn look_up(&self, raw: &Raw<'_>) -> Option<RawDocumentBuf> {
        self.metrics.feed_oddity("update_without_image");
        let id = raw.document_key?.get_str("_id").ok()?;
        let mut pause = self.pause();
        loop {
            match self.store.find_subscription(id).await {
                Ok(read) => return read.document,
                Err(error) => {
                    tracing::warn!(%error, "a changed subscription cannot be read yet");
                    pause.wait().await;
                }
            }
        }
    }

    fn undecodable(&self, error: &Undecodable, position: Position, changes: &mut Vec<Change>) {
        tracing::error!(%error, "a change cannot be decoded; events may be missing");
        self.metrics.feed_oddity("undecodable");
        let kind = ChangeKind::Missed(GapReason::UndecodableChange);
        changes.push(Change::new(position, bson::DateTime::now(), kind));
    }

    /// Passes one change that is too large for a change stream, by a stream that leaves out what
    /// is large.
    async fn step_over(&self, place: &mut Place) -> Result<Option<Interrupted>, StreamError> {
        let options = Options {
            max_await: self.settings.max_await,
            batch_size: 1,
            keys_only: true,
        };
        let database = self.store.feed_database();
        let mut stream = ChangeStream::open(database, &place.from, options).await?;
        loop {
            let reply = stream.next().await?;
            let Some(change) = reply
                .changes()?
                .into_iter()
                .next()
                .map(RawDocument::to_owned)
            else {
                continue;
            };
            let Ok(raw) = Raw::decode(&change) else {
                return Err(StreamError::Malformed("a change without a token"));
            };
            self.metrics.feed_oddity("oversized");
            let kind = match raw.collection {
                Some(Ours::Subscriptions) if raw.operation != "delete" => {
                    match self.upserted(&raw).await {
                        Meaning::Change(kind) => Some(kind),
                        _ => None,
                    }
                }
                _ => Some(ChangeKind::Missed(GapReason::OversizedChange)),
            };
            place.from = From::Token(raw.token.to_owned());
            place.position = place.position.max(raw.position);
            let (position, wall_time) = (raw.position, raw.wall_time);
            let batch = Batch {
                changes: kind
                    .map(|kind| Change::new(position, wall_time, kind))
                    .into_iter()
                    .collect(),
                reply: reply.document,
                position: place.position,
                lag_seconds: 0,
                received_at: Instant::now(),
            };
            let sent = self.router.send(FromFeed::Batch(batch)).await;
            return Ok(sent.is_err().then_some(Interrupted::RouterGone));
        }
    }

    fn report(&self, reply: &Reply, changes: &[Change], position: Position) {
        let behind = !changes.is_empty() && lag(reply, position) > BEHIND_AFTER;
        self.health.feed(if behind {
            FeedState::Behind
        } else {
            FeedState::Current
        });
        if let Some(newest) = changes.last() {
            let age =
                bson::DateTime::now().timestamp_millis() - newest.wall_time.timestamp_millis();
            let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
            Metrics::observe(&self.metrics.commit_to_receipt, age);
        }
    }

    fn cut(&self) {
        self.health.feed(FeedState::Cut);
    }

    fn pause(&self) -> Pause {
        Pause {
            shortest: self.settings.retry_min,
            longest: self.settings.retry_max,
            next: self.settings.retry_min,
        }
    }
}

enum Meaning {
    Nothing,
    Change(ChangeKind),
    Reload(&'static str),
}

/// Pauses that grow, with jitter, so that many nodes do not come back at once.
struct Pause {
    shortest: Duration,
    longest: Duration,
    next: Duration,
}

impl Pause {
    async fn wait(&mut self) {
        let jitter = rand::rng().random_range(0.5..1.0);
        sleep(self.next.mul_f64(jitter)).await;
        self.next = (self.next * 2).min(self.longest);
    }

    fn reset(&mut self) {
        self.next = self.shortest;
    }
}

/// The next cluster time: what a snapshot at `time` contains lies before it.
fn after(time: Timestamp) -> Timestamp {
    match time.increment.checked_add(1) {
        Some(increment) => Timestamp {
            time: time.time,
            increment,
        },
        None => Timestamp {
            time: time.time + 1,
            increment: 0,
        },
    }
}

/// How far the server's time was ahead of what it sent, in seconds.
fn lag(reply: &Reply, position: Position) -> u32 {
    let now = reply.operation_time().map_or(0, |time| time.time);
    now.saturating_sub(position.cluster_time().time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_not_taken_for_the_write_right_after_it() {
        let time = |time, increment| Timestamp { time, increment };
        for (snapshot, next) in [(time(7, 1), time(7, 2)), (time(7, u32::MAX), time(8, 0))] {
            let place = Place::behind(snapshot);
            assert_eq!(place.position.cluster_time(), snapshot);
            assert_eq!(place.begin.cluster_time(), next);
        }
    }
}
