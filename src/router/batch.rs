//! What the feed hands to the router: changes in commit order, ready to be applied.

use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Instant,
};

use bson::{DateTime, RawDocument, RawDocumentBuf};
use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::oneshot;

use super::Table;
use crate::{
    budget::{ByteBudget, Reservation},
    event::{self, Defaults},
    position::{DeploymentId, Position},
    protocol::{Dialect, Frame, GapReason, Message},
    subscription::CompiledSubscription,
    telemetry::Unapplied,
};

/// From the feed to the router. The order of these is the order of everything.
#[derive(Debug)]
pub(crate) enum FromFeed {
    /// Changes since the last one.
    Batch(Batch),
    /// The whole truth at one point: replaces all subscriptions that the router has.
    Reload(Reload),
}

/// Consecutive changes of one reply of the server.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The server's reply, which events are parts of.
    pub reply: RawDocumentBuf,
    /// The changes, in commit order.
    pub changes: Vec<Change>,
    /// The feed's position behind all of them.
    pub position: Position,
    /// When the reply arrived.
    pub received_at: Instant,
    /// Counts it where it is held.
    pub counted: Counted,
    /// Counts it as not applied, until it is. Nothing of the past is.
    pub unapplied: Option<Unapplied>,
}

impl Batch {
    /// Counts the batch among what waits, from here on until nobody has it any more, unless it is kept or
    /// counted so already. Its frames count for themselves while they wait.
    pub(crate) fn count(&self, budget: &ByteBudget) {
        let mut held = self.counted.lock();
        if matches!(*held, Held::Nowhere) {
            *held = Held::Waiting(budget.reserve(self.reply.as_bytes().len()));
        }
    }

    /// Counts it among what the node remembers: with the encodings that its events have so far, and those
    /// that are made from here on.
    pub(super) fn keep(&self, kept: &ByteBudget) {
        *self.counted.lock() = Held::Kept(kept.reserve(self.held()));
    }

    /// The node does not remember it any more: it waits for those who still have it.
    pub(super) fn forget(&self, budget: &ByteBudget) {
        *self.counted.lock() = Held::Nowhere;
        self.count(budget);
    }

    /// Bytes that it holds, with the encodings that its events have so far.
    pub(super) fn held(&self) -> usize {
        let changes = self.changes.iter().map(Change::held);
        self.reply.as_bytes().len() + changes.sum::<usize>()
    }

    /// The frame of one of its events, as [`Change::frame`], for those who get it later.
    pub(crate) fn frame(
        &self,
        change: &Change,
        document: &RawDocument,
        dialect: Dialect,
        encoder: &EventEncoder,
    ) -> Option<Arc<Frame>> {
        let was = change.held();
        let frame = change.frame(document, dialect, encoder);
        // Two may make it at once, and both count it then: too much, by one event.
        let made = change.held() - was;
        if made > 0
            && let Held::Kept(share) = &mut *self.counted.lock()
        {
            share.grow(made);
        }
        frame
    }

    /// The document of an event in this batch.
    pub(crate) fn document(&self, range: &Range<usize>) -> Option<&RawDocument> {
        let bytes = self.reply.as_bytes().get(range.clone())?;
        RawDocument::from_bytes(bytes).ok()
    }

    /// The part of it up to a position.
    pub(super) fn up_to(&self, position: Position) -> Self {
        let changes = self.changes.iter();
        let changes = changes.filter(|change| change.position <= position);
        Self {
            reply: self.reply.clone(),
            changes: changes.filter_map(Change::without_frames).collect(),
            position: self.position.min(position),
            received_at: self.received_at,
            counted: Counted::default(),
            unapplied: None,
        }
    }
}

/// Where a batch counts.
#[derive(Default, Debug)]
pub(crate) struct Counted(Mutex<Held>);

#[derive(Default, Debug)]
enum Held {
    #[default]
    Nowhere,
    /// Among what waits.
    Waiting(#[expect(dead_code, reason = "its drop is what counts")] Reservation),
    /// Among what the node remembers.
    Kept(Reservation),
}

impl Counted {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One change.
#[derive(Debug)]
pub(crate) struct Change {
    /// Where in the order.
    pub position: Position,
    /// The commit's wall time on the server.
    pub wall_time: DateTime,
    /// What.
    pub kind: ChangeKind,
    /// An event's encodings, each made when first wanted and shared by all who get it. `None` where
    /// the document cannot be written as JSON.
    encoded: [OnceLock<Option<Encoded>>; Dialect::COUNT],
}

/// An event as bytes for the wire, and the frame of them that waits somewhere, if one does.
#[derive(Debug)]
struct Encoded {
    bytes: Bytes,
    at: Instant,
    waiting: Mutex<Weak<Frame>>,
}

impl Encoded {
    fn frame(&self, position: Position, budget: &ByteBudget) -> Arc<Frame> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.upgrade().unwrap_or_else(|| {
            let frame = Frame::new(self.bytes.clone(), position, Some(self.at));
            let frame = Arc::new(frame.counted(budget));
            *waiting = Arc::downgrade(&frame);
            frame
        })
    }
}

/// What changed.
#[derive(Debug)]
pub(crate) enum ChangeKind {
    /// A document was inserted into `events`: where it lies in the reply.
    Event(Range<usize>),
    /// A subscription was made or changed, and is to be applied.
    Upserted(Box<CompiledSubscription>),
    /// A subscription was made or changed, and was applied: its document.
    Stored(RawDocumentBuf),
    /// A subscription was changed, by its `_id` as below, and the past does not tell into what. The
    /// router never gets it: the feed looks it up instead.
    Unseen(RawDocumentBuf),
    /// A subscription was deleted: its `_id`, as a one-element document `{_id}`.
    Deleted(RawDocumentBuf),
    /// All subscriptions went at once: the collection was dropped or renamed away.
    AllDeleted,
    /// All subscriptions were replaced at once, and which there are now is not told here. The router never
    /// gets it: the feed loads them instead.
    AllReplaced,
    /// The collection of acknowledged positions went: dropped or renamed away.
    PositionsLost,
    /// Something here could not be carried; events may be missing.
    Missed(GapReason),
}

/// What every event is written with.
#[derive(Clone, Debug)]
pub(crate) struct EventEncoder {
    /// The deployment that cursors name.
    pub deployment: DeploymentId,
    /// Stands for a missing `source`.
    pub default_source: String,
    /// Where frames are counted while they wait.
    pub budget: ByteBudget,
    /// Counts events of which something is no text, or cannot be read.
    pub undecodable: Counter,
}

impl Change {
    /// A change that nobody has looked at yet.
    pub(crate) fn new(position: Position, wall_time: DateTime, kind: ChangeKind) -> Self {
        Self {
            position,
            wall_time,
            kind,
            encoded: [const { OnceLock::new() }; Dialect::COUNT],
        }
    }

    fn held(&self) -> usize {
        let document = match &self.kind {
            ChangeKind::Stored(document)
            | ChangeKind::Unseen(document)
            | ChangeKind::Deleted(document) => document.as_bytes().len(),
            _ => 0,
        };
        let encoded = self
            .encoded
            .iter()
            .filter_map(|encoded| encoded.get()?.as_ref());
        let encoded = encoded.map(|encoded| encoded.bytes.len() + size_of::<Frame>());
        size_of::<Self>() + document + encoded.sum::<usize>()
    }

    /// The same change, as nobody has looked at it. `None` for one that is still to be applied: none of
    /// the past is.
    fn without_frames(&self) -> Option<Self> {
        let kind = match &self.kind {
            ChangeKind::Event(range) => ChangeKind::Event(range.clone()),
            ChangeKind::Upserted(_) => return None,
            ChangeKind::Stored(document) => ChangeKind::Stored(document.clone()),
            ChangeKind::Unseen(key) => ChangeKind::Unseen(key.clone()),
            ChangeKind::Deleted(key) => ChangeKind::Deleted(key.clone()),
            ChangeKind::AllDeleted => ChangeKind::AllDeleted,
            ChangeKind::AllReplaced => ChangeKind::AllReplaced,
            ChangeKind::PositionsLost => ChangeKind::PositionsLost,
            ChangeKind::Missed(reason) => ChangeKind::Missed(*reason),
        };
        Some(Self::new(self.position, self.wall_time, kind))
    }

    /// The frame of an event in a dialect; `document` is the event's. `None` if it cannot be written.
    pub(crate) fn frame(
        &self,
        document: &RawDocument,
        dialect: Dialect,
        encoder: &EventEncoder,
    ) -> Option<Arc<Frame>> {
        let encoded = self.encoded[dialect.index()].get_or_init(|| {
            match self.encode(document, dialect, encoder) {
                Ok(encoded) => Some(encoded),
                Err(error) => {
                    let position = self.position;
                    encoder.undecodable.inc();
                    tracing::warn!(%error, position = position.moment(), "an event cannot be written as JSON");
                    None
                }
            }
        });
        let encoded = encoded.as_ref()?;
        Some(encoded.frame(self.position, &encoder.budget))
    }

    fn encode(
        &self,
        document: &RawDocument,
        dialect: Dialect,
        encoder: &EventEncoder,
    ) -> Result<Encoded, bson::error::Error> {
        let cursor = self.position.cursor(encoder.deployment);
        let defaults = Defaults {
            source: &encoder.default_source,
            committed: Some(self.wall_time),
        };
        let mut json = String::with_capacity(document.as_bytes().len() * 2);
        let bare = dialect == Dialect::CloudEvents;
        let mended = if bare {
            event::write_cloudevent(document, defaults, &cursor, &mut json)?
        } else {
            event::write_json(document, defaults, &mut json)?
        };
        if mended {
            encoder.undecodable.inc();
        }
        let message = if bare {
            Message::bare_event(&cursor, json)
        } else {
            Message::event(&cursor, &json)
        };
        Ok(Encoded {
            bytes: message.encode(dialect),
            at: Instant::now(),
            waiting: Mutex::default(),
        })
    }
}

/// A consistent load of all subscriptions, which may be newer than the feed's position.
#[derive(Debug)]
pub(crate) struct Reload {
    /// All of them.
    pub subscriptions: Box<Table>,
    /// Where the feed goes on.
    pub position: Position,
    /// Whether changes before that were missed, and why.
    pub missed: Option<GapReason>,
    /// Is told once it is applied.
    pub applied: oneshot::Sender<()>,
}
