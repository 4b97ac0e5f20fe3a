//! What the feed hands to the router: changes in commit order, ready to be applied.

use std::{ops::Range, time::Instant};

use bson::{DateTime, RawDocument, RawDocumentBuf, Timestamp};

use super::Compiled;
use crate::{position::Position, protocol::GapReason};

/// From the feed to the router. The order of these is the order of everything.
#[derive(Debug)]
pub enum FromFeed {
    /// Changes since the last one.
    Batch(Batch),
    /// The whole truth at one point: replaces all subscriptions that the router has.
    Reload(Reload),
}

/// Consecutive changes of one reply of the server.
#[derive(Debug)]
pub struct Batch {
    /// The server's reply, which events are parts of.
    pub reply: RawDocumentBuf,
    /// The changes, in commit order.
    pub changes: Vec<Change>,
    /// The feed's position behind all of them.
    pub position: Position,
    /// How far the server's time was ahead of `position` when it replied, in seconds.
    pub lag_seconds: u32,
    /// When the reply arrived.
    pub received_at: Instant,
}

impl Batch {
    /// The document of an event in this batch.
    pub fn document(&self, range: &Range<usize>) -> Option<&RawDocument> {
        let bytes = self.reply.as_bytes().get(range.clone())?;
        RawDocument::from_bytes(bytes).ok()
    }
}

/// One change.
#[derive(Debug)]
pub struct Change {
    /// Where in the order.
    pub position: Position,
    /// The commit's wall time on the server.
    pub wall_time: DateTime,
    /// What.
    pub kind: ChangeKind,
}

/// What changed.
#[derive(Debug)]
pub enum ChangeKind {
    /// A document was inserted into `events`: where it lies in the reply.
    Event(Range<usize>),
    /// A subscription was made or changed.
    Upserted(Box<Compiled>),
    /// A subscription was deleted: its `_id`, as a one-element document `{_id}`.
    Deleted(RawDocumentBuf),
    /// All subscriptions went at once: the collection was dropped or renamed away.
    AllDeleted,
    /// Something here could not be carried; events may be missing.
    Missed(GapReason),
}

/// A consistent load of all subscriptions.
#[derive(Debug)]
pub struct Reload {
    /// All of them.
    pub subscriptions: Vec<Compiled>,
    /// The cluster time of the snapshot.
    pub time: Timestamp,
    /// Whether changes before it were missed, and why.
    pub missed: Option<GapReason>,
}
