//! Encoding events for the wire: at most once in each dialect that somebody wants.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Instant,
};

use bson::{DateTime, RawDocument};
use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;

use crate::{
    budget::ByteBudget,
    event::{self, Defaults},
    position::{DeploymentId, Position},
    protocol::{Dialect, Frame, FrameKind, Message},
};

/// The encoder of a node's events.
#[derive(Clone, Debug)]
pub(crate) struct EventEncoder {
    /// The deployment that cursors name.
    pub deployment: DeploymentId,
    /// Stands for a missing `source`.
    pub default_source: String,
    /// Counts frames while they wait.
    pub budget: ByteBudget,
    /// Counts events that could not be encoded completely.
    pub undecodable: Counter,
}

impl EventEncoder {
    fn encode(
        &self,
        document: &RawDocument,
        dialect: Dialect,
        position: Position,
        committed: DateTime,
    ) -> Option<EncodedEvent> {
        match self.try_encode(document, dialect, position, committed) {
            Ok(encoded) => Some(encoded),
            Err(error) => {
                self.undecodable.inc();
                tracing::warn!(%error, position = position.moment(), "an event cannot be written as JSON");
                None
            }
        }
    }

    fn try_encode(
        &self,
        document: &RawDocument,
        dialect: Dialect,
        position: Position,
        committed: DateTime,
    ) -> Result<EncodedEvent, bson::error::Error> {
        let cursor = position.cursor(self.deployment);
        let defaults = Defaults {
            source: &self.default_source,
            committed: Some(committed),
        };
        let mut json = String::with_capacity(document.as_bytes().len() * 2);
        let bare = dialect == Dialect::CloudEvents;
        let mended = if bare {
            event::write_cloudevent(document, defaults, &cursor, &mut json)?
        } else {
            event::write_json(document, defaults, &mut json)?
        };
        if mended {
            self.undecodable.inc();
        }
        let message = if bare {
            Message::bare_event(&cursor, json)
        } else {
            Message::event(&cursor, &json)
        };
        Ok(EncodedEvent {
            bytes: message.encode(dialect),
            at: Instant::now(),
            waiting: Mutex::default(),
        })
    }
}

/// The encodings of one event, by dialect. Each is made when it is first wanted, and shared by all who get the event.
/// `None` if the event cannot be encoded.
#[derive(Default, Debug)]
pub(super) struct Encodings([OnceLock<Option<EncodedEvent>>; Dialect::COUNT]);

impl Encodings {
    /// Returns the frame of the event in a dialect. `document` was committed at `position`, when the server's clock
    /// showed `committed`.
    pub(super) fn frame(
        &self,
        document: &RawDocument,
        dialect: Dialect,
        position: Position,
        committed: DateTime,
        encoder: &EventEncoder,
    ) -> Option<Arc<Frame>> {
        let made = self.0[dialect.index()]
            .get_or_init(|| encoder.encode(document, dialect, position, committed));
        let kind = if dialect.is_of_many() {
            FrameKind::Tail("event")
        } else {
            FrameKind::Whole
        };
        Some(made.as_ref()?.frame(position, kind, &encoder.budget))
    }

    /// Returns the bytes of the encodings made so far, and of a frame for each.
    pub(super) fn bytes(&self) -> usize {
        let encoded = self.0.iter().filter_map(|encoded| encoded.get()?.as_ref());
        encoded
            .map(|encoded| encoded.bytes.len() + size_of::<Frame>())
            .sum()
    }
}

/// An event as bytes for the wire, and its frame while that waits somewhere.
#[derive(Debug)]
struct EncodedEvent {
    bytes: Bytes,
    at: Instant,
    waiting: Mutex<Weak<Frame>>,
}

impl EncodedEvent {
    fn frame(&self, position: Position, kind: FrameKind, budget: &ByteBudget) -> Arc<Frame> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.upgrade().unwrap_or_else(|| {
            let frame = Frame::new(self.bytes.clone(), position, Some(self.at));
            let frame = frame.of_kind(kind);
            let frame = Arc::new(frame.counted(budget));
            *waiting = Arc::downgrade(&frame);
            frame
        })
    }
}
