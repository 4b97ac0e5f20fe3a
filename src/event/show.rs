//! An event as `tidegate.v1`, server-sent events and pages show it: the document's own fields, and the attributes
//! that it lacks.

use bson::{DateTime, RawBsonRef, RawDocument, error::Error, spec::BinarySubtype};

use super::{Attributes, CURSOR_EXTENSION, DEFAULT_TYPE, Defaults, STORED_AT_FIELD, TS_FIELD};
use crate::extjson::{SeenKeys, plain_text, read_or_mend, time_text, write_string, write_value};

/// Appends the event as a JSON object, with relaxed Extended JSON for types that JSON lacks. Returns whether it was
/// mended: bytes that are not UTF-8 are shown as U+FFFD.
pub(crate) fn write_json(
    document: &RawDocument,
    defaults: Defaults<'_>,
    out: &mut String,
) -> Result<bool, Error> {
    let start = out.len();
    let written = read_or_mend(document, |document| {
        out.truncate(start);
        write(document, defaults, out)
    });
    Ok(written?.1)
}

fn write(document: &RawDocument, defaults: Defaults<'_>, out: &mut String) -> Result<(), Error> {
    let attributes = Attributes::read(document)?;
    out.push_str(r#"{"specversion":"1.0","id":"#);
    write_text(attributes.id(), "", out)?;
    out.push_str(r#","source":"#);
    write_text(attributes.source, defaults.source, out)?;
    out.push_str(r#","type":"#);
    write_text(attributes.kind, DEFAULT_TYPE, out)?;
    let committed = attributes.committed(defaults.committed);
    write_time(attributes.time, committed, out)?;
    let data_is_bytes = attributes.data.is_some_and(|data| bytes_of(data).is_some());
    let mut keys = SeenKeys::default();
    for element in document {
        let (key, value) = element?;
        let key = key.as_str();
        // Bytes in `data` are shown under this name.
        let taken = data_is_bytes && key == "data_base64";
        if keys.is_first(key) && !taken {
            write_rest(key, value, out)?;
        }
    }
    out.push('}');
    Ok(())
}

/// Returns the bytes of a value that is shown as base64.
pub(super) fn bytes_of(value: RawBsonRef<'_>) -> Option<&[u8]> {
    match value {
        RawBsonRef::Binary(binary) if binary.subtype == BinarySubtype::Generic => {
            Some(binary.bytes)
        }
        _ => None,
    }
}

fn write_text(value: Option<RawBsonRef<'_>>, default: &str, out: &mut String) -> Result<(), Error> {
    match value {
        None => write_string(default, out),
        Some(RawBsonRef::String(text)) => write_string(text, out),
        Some(other) => write_string(&plain_text(other)?, out),
    }
    Ok(())
}

fn write_time(
    time: Option<RawBsonRef<'_>>,
    committed: Option<DateTime>,
    out: &mut String,
) -> Result<(), Error> {
    let Some(value) = time.or(committed.map(RawBsonRef::DateTime)) else {
        return Ok(());
    };
    out.push_str(r#","time":"#);
    match value {
        RawBsonRef::DateTime(date) if let Some(text) = time_text(date) => {
            write_string(&text, out);
            Ok(())
        }
        other => write_value(other, out),
    }
}

/// Writes a field that is neither written already nor ours. Other top-level fields of a document are its content,
/// and are shown as they are.
fn write_rest(key: &str, value: RawBsonRef<'_>, out: &mut String) -> Result<(), Error> {
    let (name, bytes) = match (key, value) {
        (
            "_id" | "id" | "source" | "type" | "time" | "specversion" | CURSOR_EXTENSION,
            _,
        )
        // With another type they are not the store's.
        | (TS_FIELD, RawBsonRef::Timestamp(_) | RawBsonRef::Null)
        | (STORED_AT_FIELD, RawBsonRef::DateTime(_) | RawBsonRef::Null)
        | ("subject" | "datacontenttype" | "dataschema", RawBsonRef::Null) => return Ok(()),
        ("data", value) => match bytes_of(value) {
            Some(bytes) => ("data_base64", Some(bytes)),
            None => ("data", None),
        },
        (key, _) => (key, None),
    };
    out.push(',');
    write_string(name, out);
    out.push(':');
    match bytes {
        Some(bytes) => write_string(&data_encoding::BASE64.encode(bytes), out),
        None => write_value(value, out)?,
    }
    Ok(())
}
