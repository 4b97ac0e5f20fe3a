//! Changes: those that the feed hands to the router, and those that replays look through.
//!
//! They are different types. A [`FeedChange`] is to be applied, and the router does so exactly once. A [`PastChange`]
//! is a record. The records of the backlog are changes that this node has applied; those read from the oplog or the
//! archive it has not, and they may say less.

use std::{num::NonZeroU32, sync::Arc, time::Instant};

use bson::{DateTime, RawDocument, RawDocumentBuf};
use tokio::sync::oneshot;

use super::{
    Table,
    charge::BatchCharge,
    encode::{Encodings, EventEncoder},
};
use crate::{
    access::{Credentials, CredentialsChange},
    budget::ByteBudget,
    position::Position,
    protocol::{Dialect, Frame, GapReason},
    subscription::CompiledSubscription,
    telemetry::Unapplied,
};

/// A message from the feed to the router. The order of these messages is the order of everything.
#[derive(Debug)]
pub(crate) enum FromFeed {
    /// Changes since the last message.
    Batch(FeedBatch),
    /// All subscriptions at one point in time.
    Reload(Reload),
}

/// Consecutive changes of one reply of the server, to be applied.
#[derive(Debug)]
pub(crate) struct FeedBatch {
    /// The server's reply, in which the documents of operations lie.
    pub reply: RawDocumentBuf,
    /// In commit order.
    pub changes: Vec<FeedChange>,
    /// The feed's position behind all of them.
    pub position: Position,
    pub received_at: Instant,
    /// Makes the batch count as lag until it is applied.
    pub unapplied: Unapplied,
}

/// One change, to be applied.
#[derive(Debug)]
pub(crate) struct FeedChange {
    pub position: Position,
    /// The commit's wall time on the server.
    pub wall_time: DateTime,
    pub kind: FeedChangeKind,
}

/// The ways in which the router's state can change.
#[derive(Debug)]
pub(crate) enum FeedChangeKind {
    /// A document of a source was written.
    Operation(Operation),
    /// A subscription was made or changed.
    SubscriptionStored(Box<CompiledSubscription>),
    /// A subscription was deleted: its `_id`, as a one-element document `{_id}`.
    SubscriptionDeleted(RawDocumentBuf),
    /// The collection of subscriptions was dropped or renamed away.
    AllSubscriptionsDeleted,
    /// A key, a policy or a revocation was made, changed or deleted.
    Credentials(CredentialsChange),
    /// The collection of acknowledged positions was dropped or renamed away.
    PositionsLost,
    /// A change could not be carried; events may be missing.
    Missed(GapReason),
}

/// A consistent load of all subscriptions and credentials. It may be newer than the feed's position.
#[derive(Debug)]
pub(crate) struct Reload {
    pub subscriptions: Box<Table>,
    pub credentials: Box<Credentials>,
    /// The position from which the feed goes on.
    pub position: Position,
    /// The reason why changes before that position may have been missed, if they may.
    pub missed: Option<GapReason>,
    /// Is told when the load is applied.
    pub applied: oneshot::Sender<()>,
}

/// The sources that subscriptions can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// The collection `events`.
    Events,
}

/// The effect of one commit on one document of a source. The documents lie in the reply of the batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Operation {
    pub source: Source,
    /// The document before the commit. Events have none.
    pub before: Option<Span>,
    /// The document after the commit.
    pub after: Option<Span>,
}

impl Operation {
    /// Returns the insert of an event.
    pub(crate) fn event(document: Span) -> Self {
        Self {
            source: Source::Events,
            before: None,
            after: Some(document),
        }
    }

    /// Returns the event that it inserted, which lies in `reply`.
    pub(crate) fn event_in(self, reply: &RawDocument) -> Option<&RawDocument> {
        match self.source {
            Source::Events => self.after?.of(reply),
        }
    }

    /// Returns how many bytes its documents have.
    pub(crate) fn bytes(self) -> usize {
        let documents = [self.before, self.after];
        documents.into_iter().flatten().map(Span::bytes).sum()
    }
}

/// The place of a document within a reply. Half the size of a range: the backlog holds very many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    start: u32,
    end: NonZeroU32,
}

impl Span {
    /// Returns the span of `part`, which must be a slice of `whole`.
    pub(crate) fn within(whole: &RawDocument, part: &RawDocument) -> Option<Self> {
        let (whole, part) = (whole.as_bytes(), part.as_bytes());
        let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
        let end = start + part.len();
        (end <= whole.len()).then_some(())?;
        Some(Self {
            start: u32::try_from(start).ok()?,
            end: NonZeroU32::new(u32::try_from(end).ok()?)?,
        })
    }

    /// Returns the document that lies here in `reply`.
    pub(crate) fn of(self, reply: &RawDocument) -> Option<&RawDocument> {
        let range = self.start as usize..self.end.get() as usize;
        RawDocument::from_bytes(reply.as_bytes().get(range)?).ok()
    }

    fn bytes(self) -> usize {
        (self.end.get() - self.start) as usize
    }
}

/// Consecutive changes of the past, from one reply of the server.
#[derive(Debug)]
pub(crate) struct PastBatch {
    /// The server's reply, in which the documents of operations lie.
    pub reply: RawDocumentBuf,
    /// In commit order.
    pub changes: Vec<PastChange>,
    /// The position behind all of them.
    pub position: Position,
    received_at: Instant,
    charge: BatchCharge,
}

impl PastBatch {
    pub(crate) fn new(
        reply: RawDocumentBuf,
        changes: Vec<PastChange>,
        position: Position,
        received_at: Instant,
    ) -> Self {
        Self {
            reply,
            changes,
            position,
            received_at,
            charge: BatchCharge::default(),
        }
    }

    pub(super) fn received_at(&self) -> Instant {
        self.received_at
    }

    /// Charges the batch to what waits, until its last holder drops it, unless it is charged already. Its frames are
    /// charged separately.
    pub(crate) fn charge_to_waiting(&self, waiting: &ByteBudget) {
        self.charge.to_waiting(waiting, self.reply.as_bytes().len());
    }

    /// Charges the batch to the backlog: with the encodings that its events have by now, and those made later.
    pub(super) fn charge_to_backlog(&self, backlog: &ByteBudget) {
        self.charge.to_backlog(backlog, self.bytes());
    }

    /// Releases the backlog from the charge. Whoever still holds the batch is waiting for it.
    pub(super) fn release_from_backlog(&self, waiting: &ByteBudget) {
        self.charge.release();
        self.charge_to_waiting(waiting);
    }

    /// Returns the bytes that the batch takes, with the encodings that its events have by now.
    pub(super) fn bytes(&self) -> usize {
        let changes = self.changes.iter().map(PastChange::bytes);
        self.reply.as_bytes().len() + changes.sum::<usize>()
    }

    /// Returns the frame of one of its events, as [`PastChange::frame`] does, and charges for its encoding.
    pub(crate) fn frame(
        &self,
        change: &PastChange,
        document: &RawDocument,
        dialect: Dialect,
        encoder: &EventEncoder,
    ) -> Option<Arc<Frame>> {
        let before = change.bytes();
        let frame = change.frame(document, dialect, encoder);
        // Two callers may encode at once, and both charge for it then: too much, by one event.
        self.charge.grow(change.bytes() - before);
        frame
    }

    /// Returns the event that a change of this batch inserted, if it is one.
    pub(crate) fn event(&self, change: &PastChange) -> Option<&RawDocument> {
        match change.kind {
            PastChangeKind::Operation(operation) => operation.event_in(&self.reply),
            _ => None,
        }
    }

    /// Returns the part of the batch up to a position.
    pub(super) fn up_to(&self, position: Position) -> Self {
        let changes = self.changes.iter();
        let changes = changes.filter(|change| change.position <= position);
        Self::new(
            self.reply.clone(),
            changes.map(PastChange::without_encodings).collect(),
            self.position.min(position),
            self.received_at,
        )
    }
}

#[derive(Debug)]
pub(crate) struct PastChange {
    pub position: Position,
    /// The commit's wall time on the server.
    pub wall_time: DateTime,
    pub kind: PastChangeKind,
    encodings: Encodings,
}

/// The kinds of changes that a replay can meet.
#[derive(Clone, Debug)]
pub(crate) enum PastChangeKind {
    /// A document of a source was written.
    Operation(Operation),
    /// A subscription was made or changed: its document.
    SubscriptionStored(RawDocumentBuf),
    /// A subscription was changed, and the oplog does not tell into what: its `_id`, as below.
    SubscriptionUnknown(RawDocumentBuf),
    /// A subscription was deleted: its `_id`, as a one-element document `{_id}`.
    SubscriptionDeleted(RawDocumentBuf),
    /// The collection of subscriptions was dropped or renamed away.
    AllSubscriptionsDeleted,
    /// Another collection took the place of the subscriptions, and the oplog does not tell what was in it.
    AllSubscriptionsReplaced,
    /// A change could not be carried; events may be missing.
    Missed(GapReason),
}

impl PastChange {
    pub(crate) fn new(position: Position, wall_time: DateTime, kind: PastChangeKind) -> Self {
        Self {
            position,
            wall_time,
            kind,
            encodings: Encodings::default(),
        }
    }

    fn bytes(&self) -> usize {
        let document = match &self.kind {
            PastChangeKind::SubscriptionStored(document)
            | PastChangeKind::SubscriptionUnknown(document)
            | PastChangeKind::SubscriptionDeleted(document) => document.as_bytes().len(),
            _ => 0,
        };
        size_of::<Self>() + document + self.encodings.bytes()
    }

    fn without_encodings(&self) -> Self {
        Self::new(self.position, self.wall_time, self.kind.clone())
    }

    /// Returns the frame of an event in a dialect; `document` is the event. `None` if it cannot be encoded.
    pub(crate) fn frame(
        &self,
        document: &RawDocument,
        dialect: Dialect,
        encoder: &EventEncoder,
    ) -> Option<Arc<Frame>> {
        self.encodings
            .frame(document, dialect, self.position, self.wall_time, encoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::rawdoc;

    #[test]
    fn a_document_is_found_where_it_lies_in_a_reply() {
        let reply = rawdoc! {"a": 1, "document": {"x": 5}};
        let document = reply.get_document("document").unwrap();
        let span = Span::within(&reply, document).unwrap();
        assert_eq!(span.of(&reply), Some(document));
        assert_eq!(span.bytes(), document.as_bytes().len());
        assert_eq!(Span::within(document, &reply), None);
        assert_eq!(
            Span::within(&reply, &reply).unwrap().of(&reply),
            Some(&*reply)
        );
    }

    /// Each event in the backlog takes this much beside its bytes.
    #[test]
    fn before_and_after_cost_no_memory() {
        assert!(size_of::<Operation>() <= size_of::<RawDocumentBuf>());
    }
}
