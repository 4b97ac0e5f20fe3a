//! Events: how a stored document is shown as an event in the form of CloudEvents 1.0.
//!
//! A document in `events` is an event, whoever wrote it. Missing attributes are filled in when it is shown: `id`
//! from `_id`, `source` from the database, `type`, and `time` from the commit. If several fields have one name,
//! the first counts, as in a query. docs/data-model.md explains the mapping to people.

mod cloudevent;
pub(crate) mod input;
pub(crate) mod media;
mod show;
mod unstored;

use bson::{DateTime, RawBsonRef, RawDocument, error::Error};

pub(crate) use self::{cloudevent::write_cloudevent, show::write_json, unstored::unstored};
use crate::extjson::{plain_text, read_or_mend};

/// The `type` of an event whose document has none.
pub(crate) const DEFAULT_TYPE: &str = "tidegate.event";
/// The server's own timestamp of the insert: the log's order for pages and late replay.
pub(crate) const TS_FIELD: &str = "ts";
/// The date that retention counts from.
pub(crate) const STORED_AT_FIELD: &str = "storedAt";
/// The CloudEvents extension that carries the cursor on the `cloudevents.json` subprotocol.
pub(crate) const CURSOR_EXTENSION: &str = "tidegatecursor";

/// Returns the source of events that name none: `/DATABASE/events`.
pub(crate) fn default_source(database: &str) -> String {
    format!("/{database}/events")
}

/// Values for attributes that a document lacks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults<'a> {
    /// The `source`.
    pub source: &'a str,
    /// The `time`: the commit's wall time, which an event of another program gets as `storedAt` a moment later.
    /// So an event shows the same time everywhere, or none if neither is known.
    pub committed: Option<DateTime>,
}

/// The attributes of a stored document. This is their only reader: delivery, pages, look-ups and the check for
/// duplicates all go by it.
#[derive(Clone, Copy, Default, Debug)]
struct Attributes<'a> {
    object_id: Option<RawBsonRef<'a>>,
    id: Option<RawBsonRef<'a>>,
    source: Option<RawBsonRef<'a>>,
    kind: Option<RawBsonRef<'a>>,
    time: Option<RawBsonRef<'a>>,
    data: Option<RawBsonRef<'a>>,
    stored_at: Option<RawBsonRef<'a>>,
}

impl<'a> Attributes<'a> {
    /// Reads the attributes; null counts as missing.
    fn read(document: &'a RawDocument) -> Result<Self, Error> {
        let mut found = Self::default();
        for element in document.iter_elements() {
            let element = element?;
            let slot = match element.key().as_str() {
                "_id" => &mut found.object_id,
                "id" => &mut found.id,
                "source" => &mut found.source,
                "type" => &mut found.kind,
                "time" => &mut found.time,
                "data" => &mut found.data,
                STORED_AT_FIELD => &mut found.stored_at,
                _ => continue,
            };
            if slot.is_none() {
                *slot = Some(element.value()?);
            }
        }
        let slots = [
            &mut found.id,
            &mut found.source,
            &mut found.kind,
            &mut found.time,
            &mut found.data,
        ];
        for slot in slots {
            *slot = slot.take().filter(|value| *value != RawBsonRef::Null);
        }
        Ok(found)
    }

    /// Returns the commit's wall time: as stored, else `otherwise`.
    fn committed(&self, otherwise: Option<DateTime>) -> Option<DateTime> {
        let stored_at = self.stored_at.and_then(RawBsonRef::as_datetime);
        stored_at.or(otherwise)
    }

    fn id(&self) -> Option<RawBsonRef<'a>> {
        self.id.or(self.object_id)
    }
}

/// Returns the `id` and the `source` that an event is shown with. Together they identify it.
pub(crate) fn identity(
    document: &RawDocument,
    default_source: &str,
) -> Result<(String, String), Error> {
    let text = |value: Option<RawBsonRef<'_>>, default: &str| {
        value.map_or_else(|| Ok(default.to_owned()), plain_text)
    };
    let read = read_or_mend(document, |document| {
        let attributes = Attributes::read(document)?;
        Ok((
            text(attributes.id(), "")?,
            text(attributes.source, default_source)?,
        ))
    });
    Ok(read?.0)
}

#[cfg(test)]
mod tests;
