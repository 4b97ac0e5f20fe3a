//! Reports of the feed to health, metrics and the log.

use std::time::{Duration, Instant};

use bson::DateTime;

use super::{Follower, ResumePoint, failure::Remedy, stream::StreamError};
use crate::{
    router::FeedChange,
    telemetry::{BEHIND_AFTER, FeedState, Metrics, Unapplied},
};

impl Follower<'_> {
    /// Reports a failure of the stream. While the database cannot be reached, only the first one is a warning.
    pub(super) fn report_failure(
        &self,
        failed: &StreamError,
        resume: &ResumePoint,
        remedy: Remedy,
    ) {
        self.feed.metrics.feed.resumed(failed.cause());
        let position = resume.position.moment();
        if remedy == Remedy::Reopen
            && failed.is_trouble()
            && self.feed.health.is_feed_disconnected()
        {
            tracing::debug!(error = %failed, position, "the change stream cannot be opened yet");
        } else {
            tracing::warn!(error = %failed, position, ?remedy, "the change stream ended");
        }
        if let Some(right) = failed.missing_right() {
            self.feed.store.availability().note_missing_right(&right);
        }
    }

    /// Reports that the database cannot be reached.
    pub(super) fn report_disconnected(&self) {
        self.feed.health.feed(FeedState::Disconnected);
    }

    /// Counts a reply as not applied from here on.
    pub(super) fn report_received(&self, at: Instant, age: Duration) -> Unapplied {
        let due = at + self.feed.settings.max_await;
        self.feed.metrics.feed.lag.received(at, age, due)
    }

    /// Reports that the feed is following, with changes that were `age` old.
    pub(super) fn report_current(&self, newest: Option<&FeedChange>, age: Duration) {
        let was_disconnected = self.feed.health.is_feed_disconnected();
        self.feed.health.feed(if age > BEHIND_AFTER {
            FeedState::Behind
        } else {
            FeedState::Current
        });
        if was_disconnected {
            tracing::info!(lag_seconds = age.as_secs(), "the feed has resumed");
        }
        if let Some(newest) = newest {
            let age = DateTime::now().timestamp_millis() - newest.wall_time.timestamp_millis();
            let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
            Metrics::observe(&self.feed.metrics.delivery.commit_to_receipt, age);
        }
    }

    /// Reports a change that needs no action.
    pub(super) fn report_odd(&self, operation: &'static str) {
        tracing::info!(operation, "an unusual change in the feed");
        self.feed.metrics.feed.oddity(operation);
    }
}
