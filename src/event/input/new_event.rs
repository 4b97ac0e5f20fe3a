//! An event that was read from a request.

use bson::{
    Bson, DateTime, RawBson, RawDocumentBuf,
    raw::{CStr, cstr},
};

use crate::extjson::Faults;

/// The form of a published event, which decides what it must contain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EventForm {
    /// A `CloudEvent`, with all attributes that the specification requires.
    CloudEvent,
    /// A plain object: `specversion`, `id`, `source` and `time` may be missing and are filled in.
    Plain,
}

/// Values for attributes that a plain event leaves out.
#[derive(Clone, Debug)]
pub(crate) struct MissingAttributes<'a, F> {
    /// The maker of the `id`.
    pub id: F,
    /// The `source`.
    pub source: &'a str,
    /// The `time`; a `CloudEvent` without one stays without.
    pub time: DateTime,
}

/// An event as the document to store, with the identity that its publisher gets back.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct StorableEvent {
    /// The event's `id`.
    pub id: String,
    /// The event's `source`.
    pub source: String,
    /// The event, without the fields that the store adds.
    pub document: RawDocumentBuf,
}

/// The reason why an event is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum EventRefusal {
    /// It has faults.
    Faulty(Faults),
    /// It is too large as BSON.
    TooLarge,
}

/// An event that was read and has no faults. Its attributes have the types that are stored.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct NewEvent {
    pub(super) form: EventForm,
    pub(super) id: Option<String>,
    pub(super) source: Option<String>,
    pub(super) kind: String,
    pub(super) time: Option<DateTime>,
    /// `subject`, `datacontenttype`, `dataschema` and extensions, as given.
    pub(super) others: Vec<(String, Bson)>,
    pub(super) data: Option<RawBson>,
}

impl NewEvent {
    /// Fills in what the event lacks, and returns its document. Fails if BSON cannot hold it.
    pub(crate) fn into_storable(
        self,
        fill: MissingAttributes<'_, impl FnOnce() -> String>,
    ) -> Result<StorableEvent, bson::error::Error> {
        let id = self.id.unwrap_or_else(fill.id);
        let source = self.source.unwrap_or_else(|| fill.source.to_owned());
        let mut document = RawDocumentBuf::new();
        document.append(cstr!("id"), &*id);
        document.append(cstr!("source"), &*source);
        document.append(cstr!("type"), self.kind);
        let now = (self.form == EventForm::Plain).then_some(fill.time);
        if let Some(time) = self.time.or(now) {
            document.append(cstr!("time"), time);
        }
        for (name, value) in self.others {
            document.append(<&CStr>::try_from(&*name)?, RawBson::try_from(value)?);
        }
        if let Some(data) = self.data {
            document.append(cstr!("data"), data);
        }
        Ok(StorableEvent {
            id,
            source,
            document,
        })
    }
}
