//! The feed: sole owner of this node's change stream.
//!
//! It loads all subscriptions at one point in time, watches from exactly there, and hands the router
//! everything in commit order. Trouble in the database makes it wait and open again from the last
//! token, for as long as it takes; where the history is gone, it loads again by the very same code
//! and says that events may be missing. It never touches a socket and knows nothing of them.

mod assembly;
mod backoff;
mod change;
mod delete_history;
mod failure;
mod hand_over;
mod load;
mod oplog_history;
mod oversized;
mod repair;
mod resume_point;
mod stream;
mod undated;
mod understand;

use std::{future::pending, sync::Arc};

use tokio::sync::mpsc;

pub(crate) use self::delete_history::{DeleteHistory, recall};
pub(crate) use self::oplog_history::{OplogError, OplogReader};
use self::{
    backoff::Backoff,
    failure::Remedy,
    load::LoadReason,
    repair::Repairs,
    resume_point::ResumePoint,
    stream::{ChangeStream, Options, StreamError},
};
use crate::{
    config,
    filter::Limits,
    router::{Capacity, FromFeed},
    store::{Committed, Store},
    telemetry::{FeedState, Health, Metrics},
};

/// Changes in one reply at most: enough to drain fast, few enough to apply while the next is read.
const BATCH_SIZE: u32 = 2_000;

/// The feed's task.
#[derive(Debug)]
pub(crate) struct Feed {
    /// Where the change stream is opened, and missing documents are looked up.
    pub store: Store,
    /// The way to the router. Bounded: a router that is behind makes the feed wait.
    pub router: mpsc::Sender<FromFeed>,
    /// Where it tells of events that do not say when they were committed. Bounded: what finds no room is
    /// looked for later.
    pub undated: mpsc::Sender<Committed>,
    /// Pauses and batch timing.
    pub settings: config::Feed,
    /// Bounds of filters.
    pub limits: Limits,
    /// Subscriptions that may be held.
    pub capacity: Capacity,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// Where it reports.
    pub health: Health,
}

impl Feed {
    /// Follows the database for ever.
    pub(crate) async fn run(self) {
        let repairs = Repairs::default();
        let reading = Reading {
            feed: &self,
            repairs: &repairs,
        };
        tokio::select! {
            () = reading.follow_for_ever() => {}
            () = repairs.run(&self.store, reading.pause()) => {}
        }
    }
}

/// Why the feed stopped following the stream.
#[derive(Debug)]
enum Interrupted {
    /// All subscriptions have to be loaded.
    LoadReason(LoadReason),
    /// The router is gone.
    RouterGone,
}

/// The part that reads and hands over.
#[derive(Debug)]
struct Reading<'f> {
    feed: &'f Feed,
    repairs: &'f Repairs,
}

impl Reading<'_> {
    async fn follow_for_ever(&self) {
        let mut resume = ResumePoint::nowhere();
        let mut pause = self.pause();
        let mut load = LoadReason::Start;
        loop {
            let gone = self.load(load, &mut resume, &mut pause).await;
            let interrupted = match gone {
                Some(gone) => gone,
                None => self.follow(&mut resume, &mut pause).await,
            };
            match interrupted {
                Interrupted::LoadReason(why) => load = why,
                // Whoever watches the router ends this node.
                Interrupted::RouterGone => pending().await,
            }
        }
    }

    /// Reads streams from `resume` on, one after another, until that cannot go on.
    async fn follow(&self, resume: &mut ResumePoint, pause: &mut Backoff) -> Interrupted {
        loop {
            let failed = match self.read_stream(resume, pause).await {
                Ok(Some(interrupted)) => return interrupted,
                Ok(None) => continue,
                Err(failed) => failed,
            };
            let remedy = failed.remedy();
            self.tell(&failed, resume, remedy);
            self.feed.metrics.feed.resumed(failed.cause());
            match remedy {
                Remedy::Reload => return Interrupted::LoadReason(LoadReason::HistoryLost),
                Remedy::StepOver if !resume.careful => resume.careful = true,
                Remedy::StepOver => match self.step_over(resume).await {
                    Ok(None) => {}
                    Ok(Some(interrupted)) => return interrupted,
                    Err(error) => {
                        tracing::warn!(%error, "the oversized change cannot be passed yet");
                        self.cut();
                        pause.wait().await;
                    }
                },
                Remedy::Reopen => {
                    if failed.is_trouble() {
                        self.cut();
                    }
                    pause.wait().await;
                }
            }
        }
    }

    /// Opens one stream and reads it to its end. `None` if the next one is to be read otherwise.
    async fn read_stream(
        &self,
        resume: &mut ResumePoint,
        pause: &mut Backoff,
    ) -> Result<Option<Interrupted>, StreamError> {
        let careful = resume.careful;
        let options = Options {
            max_await: self.feed.settings.max_await,
            batch_size: if careful { 1 } else { BATCH_SIZE },
            keys_only: false,
        };
        let database = self.feed.store.feed_database();
        let mut stream = ChangeStream::open(database, &resume.from, options).await?;
        tracing::debug!(position = ?resume.position, careful, "the change stream is open");
        for replies in 0_u32.. {
            let reply = stream.next().await?;
            pause.reset();
            let idle = reply.changes()?.is_empty();
            if let Some(interrupted) = self.hand_over(reply, resume).await? {
                return Ok(Some(interrupted));
            }
            // What was too large is not among the next changes after all.
            if careful && ((idle && replies > 0) || replies >= BATCH_SIZE) {
                resume.careful = false;
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Says once that the feed is cut; the attempts that follow are for those who look closely.
    fn tell(&self, failed: &StreamError, resume: &ResumePoint, remedy: Remedy) {
        let position = resume.position.moment();
        if remedy == Remedy::Reopen && failed.is_trouble() && self.feed.health.is_feed_cut() {
            tracing::debug!(error = %failed, position, "the change stream cannot be opened yet");
        } else {
            tracing::warn!(error = %failed, position, ?remedy, "the change stream ended");
        }
        if let Some(right) = failed.missing_right() {
            self.feed.store.availability().note_missing_right(&right);
        }
    }

    fn cut(&self) {
        self.feed.health.feed(FeedState::Cut);
    }

    fn pause(&self) -> Backoff {
        let availability = self.feed.store.availability().clone();
        Backoff::new(&self.feed.settings, availability)
    }
}
