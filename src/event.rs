//! Events: how a stored document becomes one of the kind that CloudEvents 1.0 describes.
//!
//! A document in `events` is an event whoever wrote it. What it lacks of one is filled in
//! when it is shown: `id` from `_id`, `source` from the database, `type`, and `time` from the commit. Of
//! several fields with one name the first counts, as in a query. docs/data-model.md is the mapping for people.

mod cloudevent;
pub(crate) mod input;
pub(crate) mod media;
mod show;
mod unstored;

use bson::{DateTime, RawBsonRef, RawDocument, error::Error};

pub(crate) use self::{cloudevent::write_cloudevent, show::write_json, unstored::unstored};
use crate::extjson::{plain_text, read_or_mend};

/// `type` of an event whose document has none.
pub(crate) const DEFAULT_TYPE: &str = "tidegate.event";
/// The server's own timestamp of the insert: the log's order for pages and late replay.
pub(crate) const TS_FIELD: &str = "ts";
/// The date that retention counts from.
pub(crate) const STORED_AT_FIELD: &str = "storedAt";
/// The CloudEvents extension that carries the cursor on the `cloudevents.json` subprotocol.
pub(crate) const CURSOR_EXTENSION: &str = "tidegatecursor";

/// The source of events that name none: `/DATABASE/events`.
pub(crate) fn default_source(database: &str) -> String {
    format!("/{database}/events")
}

/// What a document does not say of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults<'a> {
    /// Stands for a missing `source`.
    pub source: &'a str,
    /// The commit's wall time, which an event of another program has as `storedAt` a moment later. It stands for
    /// a missing `time`: the same everywhere, and none where neither is known.
    pub committed: Option<DateTime>,
}

/// What a document says of itself as an event. The one reader of attributes: what is delivered, what
/// is paged, what is looked up and what is a duplicate go by it.
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
    /// Reads those attributes; null is none.
    fn read(document: &'a RawDocument) -> Result<Self, Error> {
        let mut found = Self::default();
        for element in document.iter_elements() {
            let element = element?;
            let place = match element.key().as_str() {
                "_id" => &mut found.object_id,
                "id" => &mut found.id,
                "source" => &mut found.source,
                "type" => &mut found.kind,
                "time" => &mut found.time,
                "data" => &mut found.data,
                STORED_AT_FIELD => &mut found.stored_at,
                _ => continue,
            };
            if place.is_none() {
                *place = Some(element.value()?);
            }
        }
        let places = [
            &mut found.id,
            &mut found.source,
            &mut found.kind,
            &mut found.time,
            &mut found.data,
        ];
        for place in places {
            *place = place.take().filter(|value| *value != RawBsonRef::Null);
        }
        Ok(found)
    }

    /// When it was committed: what is written down, else what is known otherwise.
    fn committed(&self, otherwise: Option<DateTime>) -> Option<DateTime> {
        let stored_at = self.stored_at.and_then(RawBsonRef::as_datetime);
        stored_at.or(otherwise)
    }

    fn id(&self) -> Option<RawBsonRef<'a>> {
        self.id.or(self.object_id)
    }
}

/// What identifies an event: the `id` and `source` it is shown with.
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
