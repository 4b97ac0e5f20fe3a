//! From a reply of the server to a batch for the router.

use std::time::{Duration, Instant};

use bson::RawDocument;

use super::{
    Interrupted, Reading,
    change::{RawChange, Undecodable},
    load::LoadReason,
    resume_point::ResumePoint,
    stream::{From, Reply, StreamError},
    understand::Meaning,
};
use crate::{
    position::Position,
    protocol::GapReason,
    router::{Batch, Change, ChangeKind, Counted, FromFeed},
    telemetry::{BEHIND_AFTER, FeedState, Metrics, Unapplied},
};

/// What a reply means.
struct Understood<'r> {
    changes: Vec<Change>,
    /// Where the stream is behind them.
    token: Option<(&'r RawDocument, Position)>,
    /// All subscriptions were replaced at once; what comes after that was not looked at.
    replaced: bool,
}

impl Reading<'_> {
    /// Sends what a reply means to the router. `Some` if the stream cannot serve any longer.
    pub(super) async fn hand_over(
        &self,
        reply: Reply,
        resume: &mut ResumePoint,
    ) -> Result<Option<Interrupted>, StreamError> {
        let received_at = Instant::now();
        let age = age(&reply, resume.position)?;
        let unapplied = self.received(received_at, age);
        let Understood {
            changes,
            token,
            replaced,
        } = self.understand_all(&reply, resume).await?;
        let changes = self.compiled(changes).await;
        if let Some((token, position)) = token {
            resume.from = From::Token(token.to_owned());
            resume.position = resume.position.max(position);
        }
        self.report(&changes, age);
        let batch = Batch {
            reply: reply.document,
            changes,
            position: resume.position,
            received_at,
            counted: Counted::default(),
            unapplied: Some(unapplied),
        };
        let gone = self.send(batch).await;
        Ok(gone.or(replaced.then_some(Interrupted::LoadReason(LoadReason::Replaced))))
    }

    /// What a reply means, up to where all subscriptions have to be loaded.
    async fn understand_all<'r>(
        &self,
        reply: &'r Reply,
        resume: &ResumePoint,
    ) -> Result<Understood<'r>, StreamError> {
        let mut changes = Vec::new();
        let mut token = None;
        let mut last = resume.position;
        for change in reply.changes()? {
            let raw = match RawChange::decode(change) {
                Ok(raw) => raw,
                Err(error) => {
                    // Between those that can be read: who is replayed past it is told, too.
                    last = last.next();
                    changes.push(self.undecodable(&error, last));
                    continue;
                }
            };
            token = Some((raw.token, raw.position));
            last = last.max(raw.position);
            if resume.contains(&raw) {
                continue;
            }
            match self.understand(&raw, reply.document.as_bytes()).await {
                Meaning::Nothing => {}
                Meaning::Change(kind) => {
                    changes.push(Change::new(raw.position, raw.wall_time, kind));
                }
                Meaning::Replaced => {
                    return Ok(Understood {
                        changes,
                        token,
                        replaced: true,
                    });
                }
            }
        }
        Ok(Understood {
            changes,
            token: reply.token().or(token),
            replaced: false,
        })
    }

    /// Sends a batch. `Some` if the router is gone.
    pub(super) async fn send(&self, batch: Batch) -> Option<Interrupted> {
        let sent = self.feed.router.send(FromFeed::Batch(batch)).await;
        sent.is_err().then_some(Interrupted::RouterGone)
    }

    fn undecodable(&self, error: &Undecodable, position: Position) -> Change {
        tracing::error!(%error, "a change cannot be decoded; events may be missing");
        self.feed.metrics.feed.oddity("undecodable");
        let kind = ChangeKind::Missed(GapReason::UndecodableChange);
        Change::new(position, bson::DateTime::now(), kind)
    }

    /// Counts a reply as not applied from here on.
    pub(super) fn received(&self, at: Instant, age: Duration) -> Unapplied {
        let due = at + self.feed.settings.max_await;
        self.feed.metrics.feed.lag.received(at, age, due)
    }

    fn report(&self, changes: &[Change], age: Duration) {
        let behind = age > BEHIND_AFTER;
        let was_cut = self.feed.health.is_feed_cut();
        self.feed.health.feed(if behind {
            FeedState::Behind
        } else {
            FeedState::Current
        });
        if was_cut {
            tracing::info!(lag_seconds = age.as_secs(), "the feed goes on");
        }
        if let Some(newest) = changes.last() {
            let age =
                bson::DateTime::now().timestamp_millis() - newest.wall_time.timestamp_millis();
            let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
            Metrics::observe(&self.feed.metrics.delivery.commit_to_receipt, age);
        }
    }
}

/// How far the server's time was ahead of the changes that it sent, if it sent any. The stream was at
/// `before` until then.
pub(super) fn age(reply: &Reply, before: Position) -> Result<Duration, StreamError> {
    if reply.changes()?.is_empty() {
        return Ok(Duration::ZERO);
    }
    let position = reply.token().map_or(before, |(_, position)| position);
    let now = reply.operation_time().map_or(0, |time| time.time);
    let seconds = now.saturating_sub(position.cluster_time().time);
    Ok(Duration::from_secs(seconds.into()))
}
