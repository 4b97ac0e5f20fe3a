//! An event as a strict `CloudEvent`, for the subprotocol `cloudevents.json` and for batches.
//!
//! CloudEvents 1.0.2 allows few types and names for attributes. A field that is no legal attribute is content:
//! it goes under `data` if the event has none, and is left out otherwise.

use std::borrow::Cow;

use bson::{DateTime, RawBsonRef, RawDocument, error::Error};
use smallvec::SmallVec;

use super::{
    Attributes, CURSOR_EXTENSION, DEFAULT_TYPE, Defaults, STORED_AT_FIELD, TS_FIELD,
    input::attribute::{escaped_text, escaped_uri, has_scheme, is_name, is_text, is_uri_reference},
    media::Media,
    show::bytes_of,
};
use crate::extjson::{SeenKeys, plain_text, read_or_mend, write_string, write_value};

/// The years 1 to 9999, in milliseconds.
const RFC_3339_MS: std::ops::Range<i64> = -62_135_596_800_000..253_402_300_800_000;

/// Appends the event as a `CloudEvent` in the JSON format. `cursor` becomes the extension `tidegatecursor`.
/// Returns whether it was mended: bytes that are not UTF-8 are shown as U+FFFD.
pub(crate) fn write_cloudevent(
    document: &RawDocument,
    defaults: Defaults<'_>,
    cursor: &str,
    out: &mut String,
) -> Result<bool, Error> {
    let start = out.len();
    let written = read_or_mend(document, |document| {
        out.truncate(start);
        let attributes = Attributes::read(document)?;
        write_required(&attributes, defaults, out)?;
        Writer {
            out,
            has_data: attributes.data.is_some(),
            content_type: None,
            content: SmallVec::new(),
        }
        .rest(document)?;
        for part in [",\"", CURSOR_EXTENSION, "\":"] {
            out.push_str(part);
        }
        write_string(cursor, out);
        out.push('}');
        Ok(())
    });
    Ok(written?.1)
}

/// Writes `specversion`, `id`, `source`, `type`, and `time` if it is known.
fn write_required(
    attributes: &Attributes<'_>,
    defaults: Defaults<'_>,
    out: &mut String,
) -> Result<(), Error> {
    out.push_str(r#"{"specversion":"1.0","id":"#);
    let ids = [attributes.id, attributes.object_id];
    let id = first_text(&ids)?.unwrap_or(Cow::Borrowed(r#""""#));
    write_string(&escaped_text(&id), out);
    out.push_str(r#","source":"#);
    let source = first_text(&[attributes.source])?;
    write_string(
        &escaped_uri(source.as_deref().unwrap_or(defaults.source)),
        out,
    );
    out.push_str(r#","type":"#);
    let kind = first_text(&[attributes.kind])?;
    write_string(&escaped_text(kind.as_deref().unwrap_or(DEFAULT_TYPE)), out);
    let own = attributes.time.and_then(time);
    let committed = attributes.committed(defaults.committed);
    let committed = || time(RawBsonRef::DateTime(committed?));
    if let Some(time) = own.or_else(committed) {
        out.push_str(r#","time":"#);
        write_string(&time, out);
    }
    Ok(())
}

/// Returns the first text that is not empty.
fn first_text<'a>(values: &[Option<RawBsonRef<'a>>]) -> Result<Option<Cow<'a, str>>, Error> {
    for value in values.iter().flatten() {
        let text = match *value {
            RawBsonRef::String(text) => Cow::Borrowed(text),
            other => plain_text(other)?.into(),
        };
        if !text.is_empty() {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// Formats a date by RFC 3339, which has four digits for a year.
fn time(value: RawBsonRef<'_>) -> Option<String> {
    match value {
        RawBsonRef::DateTime(date) if is_rfc_3339(date) => date.try_to_rfc3339_string().ok(),
        _ => None,
    }
}

fn is_rfc_3339(date: DateTime) -> bool {
    RFC_3339_MS.contains(&date.timestamp_millis())
}

/// A writer of the optional attributes.
struct Writer<'o, 'a> {
    out: &'o mut String,
    has_data: bool,
    /// Written at the end: if content goes under `data`, it must be a JSON type.
    content_type: Option<&'a str>,
    /// Fields that are no legal attributes.
    content: SmallVec<[(&'a str, RawBsonRef<'a>); 4]>,
}

impl<'a> Writer<'_, 'a> {
    fn rest(mut self, document: &'a RawDocument) -> Result<(), Error> {
        let mut keys = SeenKeys::default();
        for element in document {
            let (key, value) = element?;
            if keys.is_first(key.as_str()) {
                self.field(key.as_str(), value)?;
            }
        }
        self.end()
    }

    fn field(&mut self, key: &'a str, value: RawBsonRef<'a>) -> Result<(), Error> {
        match (key, value) {
            (
                "_id" | "id" | "source" | "type" | "specversion" | CURSOR_EXTENSION,
                _,
            )
            // With another type they are not the store's.
            | (TS_FIELD, RawBsonRef::Timestamp(_) | RawBsonRef::Null)
            | (STORED_AT_FIELD, RawBsonRef::DateTime(_) | RawBsonRef::Null)
            | ("time", RawBsonRef::DateTime(_))
            | (
                "data" | "data_base64" | "time" | "subject" | "datacontenttype" | "dataschema",
                RawBsonRef::Null,
            ) => {}
            ("data", data) => {
                if let Some(bytes) = bytes_of(data) {
                    self.text("data_base64", &data_encoding::BASE64.encode(bytes));
                } else {
                    self.name("data");
                    write_value(data, self.out)?;
                }
            }
            ("data_base64", RawBsonRef::String(text)) if !self.has_data && is_base64(text) => {
                self.has_data = true;
                self.text(key, text);
            }
            ("subject", RawBsonRef::String(text)) if is_text(text) => self.text(key, text),
            ("dataschema", RawBsonRef::String(text))
                if is_uri_reference(text) && has_scheme(text) =>
            {
                self.text(key, text);
            }
            ("datacontenttype", RawBsonRef::String(text)) if is_media_type(text) => {
                self.content_type = Some(text);
            }
            ("data_base64" | "subject" | "dataschema" | "datacontenttype" | "time", _) => {
                self.content.push((key, value));
            }
            (key, value) if is_name(key) => self.extension(key, value)?,
            (key, value) => self.content.push((key, value)),
        }
        Ok(())
    }

    /// Writes an extension if its type allows that: a boolean, 32 bits, text, a time, bytes.
    fn extension(&mut self, key: &'a str, value: RawBsonRef<'a>) -> Result<(), Error> {
        match value {
            RawBsonRef::String(text) if is_text(text) => self.text(key, text),
            RawBsonRef::Boolean(_) | RawBsonRef::Int32(_) => {
                self.name(key);
                write_value(value, self.out)?;
            }
            RawBsonRef::Int64(number) if i32::try_from(number).is_ok() => {
                self.name(key);
                write_value(value, self.out)?;
            }
            value => match (time(value), bytes_of(value)) {
                (Some(time), _) => self.text(key, &time),
                (None, Some(bytes)) if !bytes.is_empty() => {
                    self.text(key, &data_encoding::BASE64.encode(bytes));
                }
                _ => self.content.push((key, value)),
            },
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), Error> {
        let becomes_data = !self.has_data && !self.content.is_empty();
        if let Some(text) = self.content_type {
            if becomes_data && !declares_json(text) {
                self.content
                    .push(("datacontenttype", RawBsonRef::String(text)));
            } else {
                self.text("datacontenttype", text);
            }
        }
        if becomes_data {
            self.name("data");
            self.out.push('{');
            for (at, (key, value)) in std::mem::take(&mut self.content).into_iter().enumerate() {
                if at > 0 {
                    self.out.push(',');
                }
                write_string(key, self.out);
                self.out.push(':');
                write_value(value, self.out)?;
            }
            self.out.push('}');
        }
        Ok(())
    }

    fn name(&mut self, name: &str) {
        self.out.push(',');
        write_string(name, self.out);
        self.out.push(':');
    }

    fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        write_string(text, self.out);
    }
}

fn is_base64(text: &str) -> bool {
    data_encoding::BASE64.decode(text.as_bytes()).is_ok()
}

fn is_media_type(text: &str) -> bool {
    text == "application/json" || Media::parse(text).is_some()
}

fn declares_json(text: &str) -> bool {
    Media::parse(text).is_some_and(|media| media.is_json())
}
