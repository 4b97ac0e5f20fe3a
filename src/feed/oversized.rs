//! Round a change that is too large for a change stream.
//!
//! The server fails the whole reply that such a change would be part of. So the changes before it are
//! first read one at a time ([`ResumePoint::careful`]); when the very next one fails, it is passed by a
//! stream that leaves out everything that is large.

use std::time::{Duration, Instant};

use bson::{RawDocument, RawDocumentBuf};

use super::{
    Interrupted, Reading,
    change::{OwnCollection, RawChange},
    hand_over::age,
    resume_point::ResumePoint,
    stream::{ChangeStream, From, Options, Reply, StreamError},
    understand::Meaning,
};
use crate::{
    protocol::GapReason,
    router::{Batch, Change, ChangeKind, Counted},
};

impl Reading<'_> {
    /// Passes the next change. `Some` if the router is gone.
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
        let mut stream = ChangeStream::open(database, &resume.from, options).await?;
        loop {
            let reply = stream.next().await?;
            let Some(change) = first(&reply)? else {
                continue;
            };
            let raw = RawChange::decode(&change)
                .map_err(|_| StreamError::Malformed("a change without a token"))?;
            if !resume.contains(&raw) {
                let age = age(&reply, resume.position)?;
                return Ok(self.pass(&raw, reply, age, resume).await);
            }
            resume.from = From::Token(raw.token.to_owned());
        }
    }

    /// Hands over what is known of the change: a subscription is looked up, else something is missing.
    async fn pass(
        &self,
        raw: &RawChange<'_>,
        reply: Reply,
        age: Duration,
        resume: &mut ResumePoint,
    ) -> Option<Interrupted> {
        tracing::warn!(position = ?raw.position, operation = raw.operation, "stepping over an oversized change");
        self.feed.metrics.feed.oddity("oversized");
        let of_subscription = raw.collection == Some(OwnCollection::Subscriptions);
        let kind = if of_subscription && raw.operation != "delete" {
            match self.upserted(raw).await {
                Meaning::Change(kind) => Some(kind),
                Meaning::Nothing | Meaning::Replaced => None,
            }
        } else {
            Some(ChangeKind::Missed(GapReason::OversizedChange))
        };
        let change = kind.map(|kind| Change::new(raw.position, raw.wall_time, kind));
        let changes = self.compiled(change.into_iter().collect()).await;
        resume.from = From::Token(raw.token.to_owned());
        resume.position = resume.position.max(raw.position);
        resume.careful = false;
        let received_at = Instant::now();
        let batch = Batch {
            unapplied: Some(self.received(received_at, age)),
            reply: reply.document,
            changes,
            position: resume.position,
            received_at,
            counted: Counted::default(),
        };
        self.send(batch).await
    }
}

fn first(reply: &Reply) -> Result<Option<RawDocumentBuf>, StreamError> {
    let changes = reply.changes()?;
    Ok(changes.into_iter().next().map(RawDocument::to_owned))
}
