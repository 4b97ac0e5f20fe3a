//! A reader of one event: attributes and data in any order, with all faults.

use std::fmt::Display;

use bson::{Binary, Bson, RawBson, spec::BinarySubtype};
use serde::de::{IgnoredAny, MapAccess};
use serde_json::Value;

use super::{
    attribute,
    new_event::{EventForm, EventRefusal, NewEvent},
};
use crate::{
    event::media::Media,
    extjson::{Faults, JsonPointer, Members, ReadOutcome, ReadValue, Scalar, read_value},
};

/// The attributes, the data and the faults found so far.
pub(super) struct EventReader<'a> {
    at: JsonPointer<'a>,
    pub(super) faults: Faults,
    attributes: Vec<(String, Bson)>,
    data: Option<RawBson>,
    /// True if there was data other than null, faulty or not.
    has_content: bool,
    /// Bytes that the rest may take.
    left: usize,
    too_large: bool,
}

impl Members for EventReader<'_> {
    fn member<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "data" | "data_base64" if self.has_content => {
                // Null means not set.
                if map.next_value::<Option<IgnoredAny>>()?.is_some() {
                    self.blame(name, "data and data_base64 exclude each other");
                }
            }
            "data" => {
                let at = self.at;
                let value = ReadValue {
                    at: JsonPointer::Key(&at, "data"),
                    max_bytes: self.left,
                    faults: &mut self.faults,
                };
                let read = map.next_value_seed(value)?;
                self.has_content = read != ReadOutcome::Value(RawBson::Null);
                self.data(read);
            }
            "data_base64" => {
                let value = map.next_value_seed(Scalar)?;
                if !value.is_null() {
                    self.has_content = true;
                    self.base64(&value);
                }
            }
            _ => {
                let value = map.next_value_seed(Scalar)?;
                self.attribute(name.to_owned(), value);
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.too_large || self.faults.is_full()
    }
}

impl<'a> EventReader<'a> {
    pub(super) fn new(at: JsonPointer<'a>, max_bytes: usize) -> Self {
        Self {
            at,
            faults: Faults::default(),
            attributes: Vec::new(),
            data: None,
            has_content: false,
            left: max_bytes,
            too_large: false,
        }
    }

    /// Counts bytes that are kept.
    fn spend(&mut self, bytes: usize) {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => self.too_large = true,
        }
    }

    fn data(&mut self, read: ReadOutcome) {
        // Null stands in for faulty data, so that a second one is still noticed.
        self.data = Some(match read {
            ReadOutcome::Value(value) => value,
            ReadOutcome::Faulty => RawBson::Null,
            ReadOutcome::TooLarge => {
                self.too_large = true;
                RawBson::Null
            }
        });
    }

    /// Reads the body of binary mode by its media type: as JSON, as text, or else as bytes.
    pub(super) fn content(
        &mut self,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<(), String> {
        let kind = content_type.and_then(Media::parse);
        if body.is_empty() {
            return Ok(());
        }
        if kind.as_ref().is_some_and(Media::is_json) {
            let read = read_value(body, self.left, &mut self.faults)?;
            self.data(read);
            return Ok(());
        }
        self.spend(body.len());
        if !self.too_large {
            let is_text = kind.as_ref().is_some_and(Media::is_utf8_text);
            let text = std::str::from_utf8(body).ok().filter(|_| is_text);
            self.data = Some(match text {
                Some(text) => RawBson::String(text.to_owned()),
                None => generic(body.to_vec()),
            });
        }
        Ok(())
    }

    pub(super) fn blame(&mut self, name: &str, detail: impl Display) {
        self.faults.blame(JsonPointer::Key(&self.at, name), detail);
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.attributes.iter().any(|(known, _)| known == name)
    }

    fn base64(&mut self, value: &Value) {
        let bytes = value
            .as_str()
            .and_then(|text| data_encoding::BASE64.decode(text.as_bytes()).ok());
        if bytes.is_none() {
            self.blame("data_base64", "must be text in base64");
        }
        self.spend(bytes.as_ref().map_or(0, Vec::len));
        self.data(bytes.map_or(ReadOutcome::Faulty, |bytes| {
            ReadOutcome::Value(generic(bytes))
        }));
    }

    /// Adds a context attribute; null means that it is not set.
    pub(super) fn attribute(&mut self, name: String, value: Value) {
        if value.is_null() {
            return;
        }
        self.spend(name.len() + value.as_str().map_or(0, str::len));
        // Null stands in for a faulty one, so that it is not called missing as well.
        let value = attribute::read(&name, value).unwrap_or_else(|detail| {
            self.blame(&name, detail);
            Bson::Null
        });
        self.attributes.push((name, value));
    }

    fn take(&mut self, name: &str) -> Option<Bson> {
        let at = self.attributes.iter().position(|(key, _)| key == name)?;
        Some(self.attributes.remove(at).1)
    }

    fn text(&mut self, name: &str, required: bool) -> Option<String> {
        match self.take(name) {
            Some(Bson::String(text)) => Some(text),
            None if required => {
                self.blame(name, "is required");
                None
            }
            _ => None,
        }
    }

    pub(super) fn finish(mut self, form: EventForm) -> Result<NewEvent, EventRefusal> {
        if self.too_large && self.faults.is_empty() {
            return Err(EventRefusal::TooLarge);
        }
        let required = form == EventForm::CloudEvent;
        self.text("specversion", required);
        let id = self.text("id", required);
        let source = self.text("source", required);
        let kind = self.text("type", true);
        let time = self.take("time").and_then(|time| match time {
            Bson::DateTime(time) => Some(time),
            _ => None,
        });
        match kind {
            Some(kind) if self.faults.is_empty() => Ok(NewEvent {
                form,
                id,
                source,
                kind,
                time,
                others: self.attributes,
                data: self.data,
            }),
            _ => Err(EventRefusal::Faulty(self.faults)),
        }
    }
}

/// Returns bytes as binary data of the generic subtype.
pub(super) fn generic(bytes: Vec<u8>) -> RawBson {
    RawBson::Binary(Binary {
        subtype: BinarySubtype::Generic,
        bytes,
    })
}
