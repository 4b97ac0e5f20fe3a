//! The feed: sole owner of this node's change stream.
//!
//! It loads all subscriptions at one point in time, watches from exactly there, and hands the router everything in
//! commit order. When the database is in trouble, it waits and opens the stream again after the last token, for as
//! long as it takes. If the history is gone, it loads again by the very same code, and announces that events may be
//! missing. It never touches a socket and knows nothing of them.

mod assembly;
mod backoff;
mod decode;
mod delete_history;
mod failure;
mod load;
mod oplog_history;
mod oversized;
mod pipeline;
mod repair;
mod report;
mod resume_point;
mod stream;
mod undated;

use std::{future::pending, sync::Arc, time::Instant};

use bson::{DateTime, RawDocument, RawDocumentBuf};
use tokio::sync::mpsc;

pub(crate) use self::delete_history::DeleteReader;
pub(crate) use self::oplog_history::{OplogError, OplogReader};
use self::{
    backoff::Backoff,
    decode::{Meaning, OwnCollection, RawChange, Undecodable},
    failure::Remedy,
    load::LoadReason,
    pipeline::StreamStart,
    repair::Repairs,
    resume_point::ResumePoint,
    stream::{ChangeStream, Options, Reply, StreamError},
};
use crate::{
    access::{CredentialKind, CredentialsChange},
    config,
    filter::Limits,
    position::Position,
    protocol::GapReason,
    router::{Capacity, FeedBatch, FeedChange, FeedChangeKind, FromFeed, compile_off_thread},
    store::{EventCommit, SUBSCRIPTIONS, Store},
    subscription::DocumentKey,
    telemetry::{Health, Metrics},
};

/// Changes in one reply at most: enough to drain fast, few enough to apply while the next reply is read.
const BATCH_SIZE: u32 = 2_000;

/// The feed's task.
#[derive(Debug)]
pub(crate) struct Feed {
    pub store: Store,
    /// Bounded: a router that is behind makes the feed wait.
    pub router: mpsc::Sender<FromFeed>,
    /// Takes events that do not say when they were committed. Bounded: what finds no room is looked for later.
    pub undated: mpsc::Sender<EventCommit>,
    pub settings: config::Feed,
    /// The limits of filters.
    pub limits: Limits,
    /// The subscriptions that may be held.
    pub capacity: Capacity,
    /// True if policies narrow what is received.
    pub narrows: bool,
    /// Bytes of credentials of each kind that may be held.
    pub credentials_bytes: usize,
    pub metrics: Arc<Metrics>,
    pub health: Health,
}

impl Feed {
    /// Follows the database forever.
    pub(crate) async fn run(self) {
        let repairs = Repairs::default();
        let follower = Follower {
            feed: &self,
            repairs: &repairs,
        };
        tokio::select! {
            () = follower.follow_forever() => {}
            () = repairs.run(&self.store, follower.backoff()) => {}
        }
    }
}

/// The reasons why the feed stops following a stream.
#[derive(Debug)]
enum Interrupted {
    /// All subscriptions have to be loaded.
    Load(LoadReason),
    /// The router is gone.
    RouterGone,
}

/// The part of the feed that reads streams and hands over to the router.
#[derive(Debug)]
struct Follower<'f> {
    feed: &'f Feed,
    repairs: &'f Repairs,
}

/// The changes of one reply, up to the first one after which all subscriptions have to be loaded.
struct Interpreted<'r> {
    changes: Vec<FeedChange>,
    /// The stream's token and position behind them.
    token: Option<(&'r RawDocument, Position)>,
    /// True if all subscriptions were replaced at once. What comes after that was not decoded.
    replaced: bool,
}

/// A change of which everything is known, except that its subscription may have to be compiled.
struct Resolved {
    position: Position,
    wall_time: DateTime,
    kind: ResolvedKind,
}

impl Resolved {
    fn new(raw: &RawChange<'_>, kind: ResolvedKind) -> Self {
        Self {
            position: raw.position,
            wall_time: raw.wall_time,
            kind,
        }
    }
}

enum ResolvedKind {
    Ready(FeedChangeKind),
    /// A subscription was made or changed, and is to be compiled.
    Subscription(RawDocumentBuf),
}

impl Follower<'_> {
    async fn follow_forever(&self) {
        let mut resume = ResumePoint::nowhere();
        let mut backoff = self.backoff();
        let mut reason = LoadReason::Start;
        loop {
            let gone = self.load(reason, &mut resume, &mut backoff).await;
            let interrupted = match gone {
                Some(gone) => gone,
                None => self.follow(&mut resume, &mut backoff).await,
            };
            match interrupted {
                Interrupted::Load(next) => reason = next,
                // Whoever watches the router ends this node.
                Interrupted::RouterGone => pending().await,
            }
        }
    }

    /// Reads one stream after another, from `resume` on, until that cannot go on.
    async fn follow(&self, resume: &mut ResumePoint, backoff: &mut Backoff) -> Interrupted {
        loop {
            let failed = match self.read_stream(resume, backoff).await {
                Ok(Some(interrupted)) => return interrupted,
                Ok(None) => continue,
                Err(failed) => failed,
            };
            let remedy = failed.remedy();
            self.report_failure(&failed, resume, remedy);
            match remedy {
                Remedy::Reload => return Interrupted::Load(LoadReason::HistoryLost),
                Remedy::StepOver if !resume.one_by_one => resume.one_by_one = true,
                Remedy::StepOver => match self.step_over(resume).await {
                    Ok(None) => {}
                    Ok(Some(interrupted)) => return interrupted,
                    Err(error) => {
                        tracing::warn!(%error, "cannot skip the oversized change yet");
                        self.report_disconnected();
                        backoff.wait().await;
                    }
                },
                Remedy::Reopen => {
                    if failed.is_trouble() {
                        self.report_disconnected();
                    }
                    backoff.wait().await;
                }
            }
        }
    }

    /// Opens one stream and reads it to its end. `None` if the next one is to be read in another way.
    async fn read_stream(
        &self,
        resume: &mut ResumePoint,
        backoff: &mut Backoff,
    ) -> Result<Option<Interrupted>, StreamError> {
        let one_by_one = resume.one_by_one;
        let options = Options {
            max_await: self.feed.settings.max_await,
            batch_size: if one_by_one { 1 } else { BATCH_SIZE },
            keys_only: false,
        };
        let database = self.feed.store.feed_database();
        let mut stream = ChangeStream::open(database, &resume.start, options).await?;
        tracing::debug!(position = ?resume.position, one_by_one, "the change stream is open");
        for replies in 0_u32.. {
            let reply = stream.next().await?;
            backoff.reset();
            let idle = reply.changes()?.is_empty();
            if let Some(interrupted) = self.hand_over(reply, resume).await? {
                return Ok(Some(interrupted));
            }
            // The change that was too large is not among the next ones after all.
            if one_by_one && ((idle && replies > 0) || replies >= BATCH_SIZE) {
                resume.one_by_one = false;
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Sends the changes of a reply to the router. `Some` if the stream cannot serve any longer.
    async fn hand_over(
        &self,
        reply: Reply,
        resume: &mut ResumePoint,
    ) -> Result<Option<Interrupted>, StreamError> {
        let received_at = Instant::now();
        let age = reply.age(resume.position)?;
        let unapplied = self.report_received(received_at, age);
        let Interpreted {
            changes,
            token,
            replaced,
        } = self.interpret(&reply, resume).await?;
        if let Some((token, position)) = token {
            resume.start = StreamStart::After(token.to_owned());
            resume.position = resume.position.max(position);
        }
        self.report_current(changes.last(), age);
        let batch = FeedBatch {
            reply: reply.document,
            changes,
            position: resume.position,
            received_at,
            unapplied,
        };
        let gone = self.send(batch).await;
        Ok(gone.or(replaced.then_some(Interrupted::Load(LoadReason::Replaced))))
    }

    /// Sends a batch. `Some` if the router is gone.
    async fn send(&self, batch: FeedBatch) -> Option<Interrupted> {
        let sent = self.feed.router.send(FromFeed::Batch(batch)).await;
        sent.is_err().then_some(Interrupted::RouterGone)
    }

    async fn interpret<'r>(
        &self,
        reply: &'r Reply,
        resume: &ResumePoint,
    ) -> Result<Interpreted<'r>, StreamError> {
        let mut changes = Vec::new();
        let mut token = None;
        let mut last = resume.position;
        let mut replaced = false;
        for change in reply.changes()? {
            let raw = match RawChange::decode(change) {
                Ok(raw) => raw,
                Err(error) => {
                    // Its position lies between those that can be read, so that replays past it are told too.
                    last = last.next();
                    changes.push(self.undecodable(&error, last));
                    continue;
                }
            };
            token = Some((raw.token, raw.position));
            last = last.max(raw.position);
            // The router knows it: the stream repeats what happened at the time where it starts, and a load may be ahead.
            if resume.contains(&raw) {
                continue;
            }
            let meaning = raw.meaning(&reply.document);
            if let Meaning::CollectionReplaced { replaced: own, .. } = meaning
                && own.is_loaded()
            {
                self.collection_replaced();
                replaced = true;
                break;
            }
            let kind = self.resolve(meaning, &raw).await;
            changes.extend(kind.map(|kind| Resolved::new(&raw, kind)));
        }
        Ok(Interpreted {
            changes: self.compile(changes).await,
            token: if replaced {
                token
            } else {
                reply.token().or(token)
            },
            replaced,
        })
    }

    /// Returns what the router is to apply for a change, if anything.
    async fn resolve(&self, meaning: Meaning<'_>, raw: &RawChange<'_>) -> Option<ResolvedKind> {
        let kind = match meaning {
            Meaning::Operation(operation) => {
                self.report_undated(raw);
                FeedChangeKind::Operation(operation)
            }
            Meaning::SubscriptionStored { document, key } => {
                let document = match document {
                    Some(document) => document.to_owned(),
                    None => self.look_up(SUBSCRIPTIONS, key).await?,
                };
                return Some(ResolvedKind::Subscription(document));
            }
            Meaning::CredentialStored {
                kind,
                document,
                key,
            } => self.credential_stored(kind, document, key).await?,
            Meaning::CredentialDeleted(kind, key) => {
                FeedChangeKind::Credentials(CredentialsChange::Deleted(kind, key.to_owned()))
            }
            Meaning::SubscriptionDeleted(key) => {
                FeedChangeKind::SubscriptionDeleted(key.to_owned())
            }
            Meaning::CollectionGone(own, operation) => self.collection_gone(own, operation)?,
            Meaning::CollectionReplaced { gone, .. } => {
                self.collection_replaced();
                self.collection_gone(gone?, "renamed_away")?
            }
            Meaning::Invalidated => {
                self.repairs.want();
                self.report_odd("invalidate");
                return None;
            }
            Meaning::Odd(operation) => {
                self.report_odd(operation);
                return None;
            }
            Meaning::Nothing => return None,
        };
        Some(ResolvedKind::Ready(kind))
    }

    /// Returns the change by which a credential was made or changed.
    async fn credential_stored(
        &self,
        kind: CredentialKind,
        document: Option<&RawDocument>,
        key: Option<&RawDocument>,
    ) -> Option<FeedChangeKind> {
        let change = match document {
            Some(document) => CredentialsChange::Stored(kind, document.to_owned()),
            None => CredentialsChange::Unseen {
                kind,
                key: key?.to_owned(),
                found: self.look_up(kind.collection(), key).await,
            },
        };
        Some(FeedChangeKind::Credentials(change))
    }

    /// Returns a document as it is now, which is at least as new as its change. `None` if it is gone by now (its
    /// delete follows), or has no key. Nothing can follow until the database answers: the order would be lost.
    async fn look_up(&self, collection: &str, key: Option<&RawDocument>) -> Option<RawDocumentBuf> {
        self.feed.metrics.feed.oddity("update_without_image");
        let key = DocumentKey::of(key?);
        let mut backoff = self.backoff();
        loop {
            match self.feed.store.find_stored(collection, &key).await {
                Ok(read) => return read.document,
                Err(error) => {
                    tracing::warn!(%error, collection, "cannot read a changed document yet");
                    self.report_disconnected();
                    backoff.wait().await;
                }
            }
        }
    }

    fn collection_replaced(&self) {
        self.feed.metrics.feed.oddity("renamed_onto");
        self.repairs.want();
    }

    /// Asks for the collection to be set up again (validator, indexes, images). Returns what this changes for the
    /// router: its documents are gone.
    fn collection_gone(
        &self,
        own: OwnCollection,
        operation: &'static str,
    ) -> Option<FeedChangeKind> {
        tracing::warn!(collection = ?own, operation, "a collection of this service was dropped or renamed");
        self.feed.metrics.feed.oddity(operation);
        self.repairs.want();
        match own {
            OwnCollection::Subscriptions => Some(FeedChangeKind::AllSubscriptionsDeleted),
            OwnCollection::Events => None,
            OwnCollection::Positions => Some(FeedChangeKind::PositionsLost),
            OwnCollection::Credentials(kind) => {
                let all = CredentialsChange::AllDeleted(kind);
                Some(FeedChangeKind::Credentials(all))
            }
        }
    }

    fn undecodable(&self, error: &Undecodable, position: Position) -> Resolved {
        tracing::error!(%error, "a change cannot be decoded; events may be missing");
        self.feed.metrics.feed.oddity("undecodable");
        let missed = FeedChangeKind::Missed(GapReason::UndecodableChange);
        Resolved {
            position,
            wall_time: DateTime::now(),
            kind: ResolvedKind::Ready(missed),
        }
    }

    /// Compiles the subscriptions among the changes together, on another thread. The order stays.
    async fn compile(&self, mut resolved: Vec<Resolved>) -> Vec<FeedChange> {
        let mut documents = Vec::new();
        for change in &mut resolved {
            if let ResolvedKind::Subscription(document) = &mut change.kind {
                documents.push(std::mem::take(document));
            }
        }
        let mut compiled = Vec::new();
        if !documents.is_empty() {
            compiled = compile_off_thread(documents, self.feed.limits.clone()).await;
        }
        let mut compiled = compiled.into_iter().map(Box::new);
        let ready = |change: Resolved| {
            let kind = match change.kind {
                ResolvedKind::Ready(kind) => kind,
                ResolvedKind::Subscription(_) => {
                    FeedChangeKind::SubscriptionStored(compiled.next()?)
                }
            };
            Some(FeedChange {
                position: change.position,
                wall_time: change.wall_time,
                kind,
            })
        };
        resolved.into_iter().filter_map(ready).collect()
    }

    fn backoff(&self) -> Backoff {
        let availability = self.feed.store.availability().clone();
        Backoff::new(&self.feed.settings, availability)
    }
}
