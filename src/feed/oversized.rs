//! Stepping over a change that is too large for a change stream.
//!
//! The server fails the whole reply that such a change would be part of. So the feed first reads the changes before
//! it one by one ([`ResumePoint::one_by_one`]). When the very next one fails, a second stream passes it, which leaves
//! out everything that can be large.

use std::time::{Duration, Instant};

use bson::{RawDocument, RawDocumentBuf};

use super::{
    Follower, Interrupted, Resolved, ResolvedKind,
    decode::{OwnCollection, RawChange},
    pipeline::StreamStart,
    resume_point::ResumePoint,
    stream::{ChangeStream, Options, Reply, StreamError},
};
use crate::{
    protocol::GapReason,
    router::{FeedBatch, FeedChangeKind},
    store::SUBSCRIPTIONS,
};

impl Follower<'_> {
    /// Steps over the next change. `Some` if the router is gone.
    pub(super) async fn step_over(
        &self,
        resume: &mut ResumePoint,
    ) -> Result<Option<Interrupted>, StreamError> {
        let options = Options {
            max_await: self.feed.settings.max_await,
            batch_size: 1,
            keys_only: true,
        };
        let database = self.feed.store.feed_database();
        let mut stream = ChangeStream::open(database, &resume.start, options).await?;
        loop {
            let reply = stream.next().await?;
            let Some(change) = first(&reply)? else {
                continue;
            };
            let raw = RawChange::decode(&change)
                .map_err(|_| StreamError::Malformed("a change without a token"))?;
            if !resume.contains(&raw) {
                let age = reply.age(resume.position)?;
                return Ok(self.pass(&raw, reply, age, resume).await);
            }
            resume.start = StreamStart::After(raw.token.to_owned());
        }
    }

    /// Hands over what is known of the change: a subscription is looked up; of anything else, something is missing.
    async fn pass(
        &self,
        raw: &RawChange<'_>,
        reply: Reply,
        age: Duration,
        resume: &mut ResumePoint,
    ) -> Option<Interrupted> {
        tracing::warn!(position = ?raw.position, operation = raw.operation, "skipping an oversized change");
        self.feed.metrics.feed.oddity("oversized");
        let is_stored = raw.operation != "delete";
        let kind = match raw.collection.filter(|own| is_stored && own.is_loaded()) {
            Some(OwnCollection::Credentials(kind)) => {
                let stored = self.credential_stored(kind, None, raw.document_key);
                stored.await.map(ResolvedKind::Ready)
            }
            Some(_) => {
                let document = self.look_up(SUBSCRIPTIONS, raw.document_key).await;
                document.map(ResolvedKind::Subscription)
            }
            None => {
                let missed = FeedChangeKind::Missed(GapReason::OversizedChange);
                Some(ResolvedKind::Ready(missed))
            }
        };
        let change = kind.map(|kind| Resolved::new(raw, kind));
        let changes = self.compile(change.into_iter().collect()).await;
        resume.start = StreamStart::After(raw.token.to_owned());
        resume.position = resume.position.max(raw.position);
        resume.one_by_one = false;
        let received_at = Instant::now();
        let batch = FeedBatch {
            unapplied: self.report_received(received_at, age),
            reply: reply.document,
            changes,
            position: resume.position,
            received_at,
        };
        self.send(batch).await
    }
}

fn first(reply: &Reply) -> Result<Option<RawDocumentBuf>, StreamError> {
    let changes = reply.changes()?;
    Ok(changes.into_iter().next().map(RawDocument::to_owned))
}
