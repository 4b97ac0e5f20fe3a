//! The collection `events`: storing events, and the date from which retention counts.
//!
//! Retention is a TTL index on `storedAt`. So every document needs that field, by the server's clock. An
//! insert cannot ask the server for a date. So events of ours carry an estimate of the server's clock that
//! is never behind it: a wrong clock on a node cannot make an event expire early. Documents that other
//! programs insert get the date of their commit ([`dates`]).

mod archive;
mod commits;
pub(in crate::store) mod dates;
mod estimates;
pub(in crate::store) mod lookup;
pub(in crate::store) mod page_key;
pub(in crate::store) mod pages;

use bson::{DateTime, RawDocument, RawDocumentBuf, Timestamp, oid::ObjectId, raw::cstr};
use mongodb::{Collection, error::IndexedWriteError};

use super::document_limits;
use crate::{
    event::{STORED_AT_FIELD, TS_FIELD},
    store::{
        EVENTS, Store, StoreError,
        client::{deadline::operation_time, error::unavailable_item, refusal::bulk_refusal},
    },
};

/// The unique index on `id` and `source`.
pub(super) const IDENTITY_INDEX: &str = "id_source";

/// The outcome of storing one event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EventOutcome {
    /// The event is stored.
    Stored,
    /// An event with the same `source` and `id` is already stored, or came earlier in the request.
    Duplicate,
    /// The event cannot be stored, for this reason.
    Refused(String),
}

/// The outcome of storing several events.
#[derive(Clone, Debug)]
pub struct EventsWritten {
    /// The cluster time of the last write.
    pub operation_time: Timestamp,
    /// The outcome of each event, in the order given.
    pub outcomes: Vec<EventOutcome>,
}

impl Store {
    fn events(&self) -> Collection<RawDocumentBuf> {
        self.database().collection(EVENTS)
    }

    /// Stores events, each alone. Adds `_id`, `ts` (which the server fills in) and `storedAt`. Refuses an
    /// event that has a field with one of these names.
    pub async fn insert_events(
        &self,
        events: Vec<RawDocumentBuf>,
    ) -> Result<EventsWritten, StoreError> {
        let stored_at = self.server_time().await?;
        let mut outcomes = Vec::with_capacity(events.len());
        let mut sound = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            match stored_form(event, stored_at) {
                Ok(document) => {
                    outcomes.push(EventOutcome::Stored);
                    sound.push((index, document));
                }
                Err(reason) => outcomes.push(EventOutcome::Refused(reason)),
            }
        }
        drop(events);
        let operation_time = self.insert_sound(&sound, &mut outcomes).await?;
        Ok(EventsWritten {
            operation_time,
            outcomes,
        })
    }

    async fn insert_sound(
        &self,
        sound: &[(usize, RawDocumentBuf)],
        outcomes: &mut [EventOutcome],
    ) -> Result<Timestamp, StoreError> {
        if sound.is_empty() {
            return self.ping().await;
        }
        let mut session = self.session().await?;
        let documents = sound.iter().map(|(_, document)| document);
        let errors = self
            .insert_unordered(EVENTS, documents, &mut session)
            .await?;
        // If all are sent again, those already stored are found by their ids.
        if let Some(unavailable) = errors.iter().find_map(unavailable_item) {
            return Err(unavailable);
        }
        for error in errors {
            if let Some((index, _)) = sound.get(error.index) {
                outcomes[*index] = outcome(&error);
            }
        }
        operation_time(&session)
    }
}

/// Returns the document in its stored form: `_id`, `ts`, the event's own fields, `storedAt`. The server
/// replaces a `Timestamp(0, 0)` at the top level of an insert by its own time.
fn stored_form(event: &RawDocument, stored_at: DateTime) -> Result<RawDocumentBuf, String> {
    for element in event.iter_elements() {
        let name = element.map_err(|error| error.to_string())?.key();
        if ["_id", TS_FIELD, STORED_AT_FIELD].contains(&name.as_str()) {
            return Err(format!("#/{name}: this field belongs to the store"));
        }
    }
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("_id"), ObjectId::new());
    document.append(
        cstr!("ts"),
        Timestamp {
            time: 0,
            increment: 0,
        },
    );
    let mut document = joined(document, event).map_err(|error| error.to_string())?;
    document.append(cstr!("storedAt"), stored_at);
    document_limits::check(&document)?;
    Ok(document)
}

/// Joins the fields of `head` and those of `tail`, copied as they are: a BSON document is its length, its
/// fields, and a zero.
fn joined(head: RawDocumentBuf, tail: &RawDocument) -> bson::error::Result<RawDocumentBuf> {
    const ROOM_FOR_MORE: usize = 32;
    let tail = tail.as_bytes();
    let mut bytes = head.into_bytes();
    bytes.reserve_exact(tail.len() + ROOM_FOR_MORE);
    bytes.pop();
    bytes.extend_from_slice(&tail[4..]);
    let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    RawDocumentBuf::from_bytes(bytes)
}

/// Reads the outcome from the error of one event. Only the server's words tell which index a duplicate breaks; a
/// test holds them.
fn outcome(error: &IndexedWriteError) -> EventOutcome {
    let of_identity = format!(" index: {IDENTITY_INDEX} dup key");
    if error.code == 11_000 && error.message.contains(&of_identity) {
        EventOutcome::Duplicate
    } else {
        EventOutcome::Refused(bulk_refusal(error))
    }
}
