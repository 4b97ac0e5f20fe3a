//! Events: how a stored document becomes one of the kind that CloudEvents 1.0 describes.
//!
//! A document in `events` is an event whoever wrote it. What it lacks of one is filled in
//! when it is shown: `id` from `_id`, `source` from the database, `type`, and `time` from the commit.

pub mod input;

use bson::{DateTime, RawBsonRef, RawDocument, spec::BinarySubtype};

use crate::extjson::{plain_text, write_string, write_value};

/// `type` of an event whose document has none.
pub const DEFAULT_TYPE: &str = "tidegate.event";
/// The server's own timestamp of the insert: the log's order for pages and late replay.
pub const TS_FIELD: &str = "ts";
/// The date that retention counts from.
pub const STORED_AT_FIELD: &str = "storedAt";
/// The CloudEvents extension that carries the cursor on the `cloudevents.json` subprotocol.
pub const CURSOR_EXTENSION: &str = "tidegatecursor";

/// The source of events that name none: `/DATABASE/events`.
pub fn default_source(database: &str) -> String {
    format!("/{database}/events")
}

/// What a document does not say of itself.
#[derive(Clone, Copy, Debug)]
pub struct Defaults<'a> {
    /// Stands for a missing `source`.
    pub source: &'a str,
    /// The commit's wall time, for a missing `time`; `None` leaves it out.
    pub committed: Option<DateTime>,
}

/// The attributes that need a second look before they are written.
#[derive(Default)]
struct Attributes<'a> {
    object_id: Option<RawBsonRef<'a>>,
    id: Option<RawBsonRef<'a>>,
    source: Option<RawBsonRef<'a>>,
    kind: Option<RawBsonRef<'a>>,
    time: Option<RawBsonRef<'a>>,
}

impl<'a> Attributes<'a> {
    fn find(document: &'a RawDocument) -> Result<Self, bson::error::Error> {
        let mut found = Self::default();
        for element in document {
            let (key, value) = element?;
            match key.as_str() {
                "_id" => found.object_id = Some(value),
                "id" => found.id = present(value),
                "source" => found.source = present(value),
                "type" => found.kind = present(value),
                "time" => found.time = present(value),
                _ => {}
            }
        }
        Ok(found)
    }
}

/// Appends the event as a CloudEvents 1.0 JSON object. `cursor` becomes the extension
/// `tidegatecursor`. Values that are not JSON's are relaxed Extended JSON.
pub fn write_json(
    document: &RawDocument,
    defaults: Defaults<'_>,
    cursor: Option<&str>,
    out: &mut String,
) -> Result<(), bson::error::Error> {
    let attributes = Attributes::find(document)?;
    out.push_str(r#"{"specversion":"1.0","id":"#);
    write_text(attributes.id.or(attributes.object_id), "", out)?;
    out.push_str(r#","source":"#);
    write_text(attributes.source, defaults.source, out)?;
    out.push_str(r#","type":"#);
    write_text(attributes.kind, DEFAULT_TYPE, out)?;
    write_time(attributes.time, defaults.committed, out)?;
    for element in document {
        let (key, value) = element?;
        write_rest(key.as_str(), value, out)?;
    }
    if let Some(cursor) = cursor {
        out.push_str(r#",""#);
        out.push_str(CURSOR_EXTENSION);
        out.push_str(r#"":"#);
        write_string(cursor, out);
    }
    out.push('}');
    Ok(())
}

/// What identifies an event: the `id` and `source` it is shown with.
pub fn identity(
    document: &RawDocument,
    default_source: &str,
) -> Result<(String, String), bson::error::Error> {
    let attributes = Attributes::find(document)?;
    let text = |value: Option<RawBsonRef<'_>>, default: &str| {
        value.map_or_else(|| Ok(default.to_owned()), plain_text)
    };
    Ok((
        text(attributes.id.or(attributes.object_id), "")?,
        text(attributes.source, default_source)?,
    ))
}

fn present(value: RawBsonRef<'_>) -> Option<RawBsonRef<'_>> {
    (value != RawBsonRef::Null).then_some(value)
}

fn write_text(
    value: Option<RawBsonRef<'_>>,
    default: &str,
    out: &mut String,
) -> Result<(), bson::error::Error> {
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
) -> Result<(), bson::error::Error> {
    let date = match (time, committed) {
        (Some(RawBsonRef::DateTime(date)), _) | (None, Some(date)) => date,
        (None, None) => return Ok(()),
        (Some(other), _) => {
            out.push_str(r#","time":"#);
            return write_value(other, out);
        }
    };
    if let Ok(text) = date.try_to_rfc3339_string() {
        out.push_str(r#","time":"#);
        write_string(&text, out);
    }
    Ok(())
}

/// Everything that is neither written already nor ours. Other top-level fields of a document that
/// some program wrote are its content, and shown as they are.
fn write_rest(
    key: &str,
    value: RawBsonRef<'_>,
    out: &mut String,
) -> Result<(), bson::error::Error> {
    let (name, binary) = match (key, value) {
        (
            "_id" | "id" | "source" | "type" | "time" | "specversion" | TS_FIELD | STORED_AT_FIELD
            | CURSOR_EXTENSION,
            _,
        )
        | ("subject" | "datacontenttype" | "dataschema", RawBsonRef::Null) => return Ok(()),
        ("data", RawBsonRef::Binary(binary)) if binary.subtype == BinarySubtype::Generic => {
            ("data_base64", Some(binary.bytes))
        }
        (key, _) => (key, None),
    };
    out.push(',');
    write_string(name, out);
    out.push(':');
    match binary {
        Some(bytes) => write_string(&data_encoding::BASE64.encode(bytes), out),
        None => write_value(value, out)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Bson, Document, RawDocumentBuf, Timestamp, doc, oid::ObjectId};
    use serde_json::{Value, json};

    fn shown(document: &Document, cursor: Option<&str>) -> Value {
        let raw = RawDocumentBuf::try_from(document).unwrap();
        let defaults = Defaults {
            source: "/db/events",
            committed: Some(DateTime::from_millis(1_000)),
        };
        let mut out = String::new();
        write_json(&raw, defaults, cursor, &mut out).unwrap();
        serde_json::from_str(&out).unwrap()
    }

    #[test]
    fn a_bare_document_is_a_complete_event() {
        let id = ObjectId::from_bytes([1; 12]);
        let value = shown(&doc! {"_id": id, "amount": 5}, None);
        assert_eq!(
            value,
            json!({"specversion": "1.0", "id": id.to_hex(), "source": "/db/events",
                "type": "tidegate.event", "time": "1970-01-01T00:00:01Z", "amount": 5})
        );
    }

    #[test]
    fn our_own_fields_are_not_shown_and_attributes_are() {
        let value = shown(
            &doc! {"_id": 1, TS_FIELD: Timestamp { time: 1, increment: 1 }, "id": "e1",
            "source": "/s", "type": "t", "subject": "x", "time": DateTime::from_millis(0),
            STORED_AT_FIELD: DateTime::from_millis(0), "ext": "v", "data": {"a": [1, 2.5]}},
            Some("CURSOR"),
        );
        assert_eq!(
            value,
            json!({"specversion": "1.0", "id": "e1", "source": "/s", "type": "t", "subject": "x",
                "time": "1970-01-01T00:00:00Z", "ext": "v", "data": {"a": [1, 2.5]},
                "tidegatecursor": "CURSOR"})
        );
    }

    #[test]
    fn binary_data_is_base64() {
        let data = bson::Binary {
            subtype: BinarySubtype::Generic,
            bytes: vec![1, 2, 3],
        };
        let value = shown(&doc! {"_id": "a", "data": Bson::Binary(data)}, None);
        assert_eq!(value["data_base64"], "AQID");
        assert_eq!(value.get("data"), None);
    }

    #[test]
    fn odd_ids_become_text() {
        assert_eq!(
            shown(&doc! {"_id": 7, "id": 5, "source": Bson::Null}, None)["id"],
            "5"
        );
        assert_eq!(shown(&doc! {"_id": {"a": 1}}, None)["id"], r#"{"a":1}"#);
    }
}
