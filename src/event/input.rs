//! Events as they are published: CloudEvents 1.0 in JSON or in headers, or plain objects.
//!
//! Pure reading and checking, by the CloudEvents specification 1.0.2, its JSON format and its HTTP
//! protocol binding. Each fault is pointed at; `data` is Extended JSON, so that dates and 64-bit
//! numbers keep their types.

pub(super) mod attribute;

use bson::{
    Binary, Bson, DateTime, RawBson, RawDocumentBuf,
    raw::{CStr, cstr},
    spec::BinarySubtype,
};
use serde_json::{Map, Value};

use crate::extjson::{At, Fault, parse_json, read_bson};

pub use self::attribute::{has_broken_escape, header_text};

/// How much of an event must be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// All that the specification requires.
    CloudEvent,
    /// `specversion`, `id`, `source` and `time` may be left out and are filled in.
    Plain,
}

/// What stands in for attributes that a plain event leaves out.
#[derive(Clone, Debug)]
pub struct Fill<'a, F> {
    /// Makes a missing `id`.
    pub id: F,
    /// For a missing `source`.
    pub source: &'a str,
    /// For a missing `time` of a plain event.
    pub time: DateTime,
}

/// An event as its document, and the names that its publisher gets back.
#[derive(Clone, PartialEq, Debug)]
pub struct Ready {
    /// The event's `id`.
    pub id: String,
    /// The event's `source`.
    pub source: String,
    /// The event, without the fields that the store adds.
    pub document: RawDocumentBuf,
}

/// An event that was read and found good. Attributes stand as they will be stored.
#[derive(Clone, PartialEq, Debug)]
pub struct NewEvent {
    form: Form,
    id: Option<String>,
    source: Option<String>,
    kind: String,
    time: Option<DateTime>,
    /// `subject`, `datacontenttype`, `dataschema` and extensions, as given.
    others: Vec<(String, Bson)>,
    data: Option<Bson>,
}

impl NewEvent {
    /// Reads an event in the JSON format. `at` is its place in the body.
    pub fn from_json(value: Value, form: Form, at: At<'_>) -> Result<Self, Vec<Fault>> {
        let Value::Object(object) = value else {
            return Err(vec![Fault::new(at, "must be an object")]);
        };
        let mut reader = Reader::new(at);
        reader.json(object);
        reader.finish(form)
    }

    /// Reads an event in binary mode: `attributes` are the `ce-` headers without that prefix, in
    /// lower case and decoded, `content_type` becomes `datacontenttype`. Faults of attributes have a
    /// pointer without `#` (`/id`): it is not the body that they stand in.
    pub fn from_parts<'a>(
        attributes: impl IntoIterator<Item = (&'a str, String)>,
        content_type: Option<&str>,
        content: Content,
    ) -> Result<Self, Vec<Fault>> {
        let mut reader = Reader::new(At::Pointer(""));
        for (name, text) in attributes {
            match name {
                "datacontenttype" => {
                    reader.blame(name, "is the header Content-Type in binary mode");
                }
                "data" | "data_base64" => reader.blame(name, "is the body in binary mode"),
                _ if reader.has(name) => reader.blame(name, "is given twice"),
                _ => reader.attribute(name.to_owned(), Value::String(text)),
            }
        }
        if let Some(content_type) = content_type {
            reader.attribute("datacontenttype".to_owned(), content_type.into());
        }
        reader.data = match content {
            Content::Empty => None,
            Content::Json(value) => Some(read_bson(value, At::Pointer("#"), &mut reader.faults)),
            Content::Other(data) => Some(data),
        };
        reader.finish(Form::CloudEvent)
    }

    /// The event's document, with what it lacks filled in. An error is why BSON cannot hold it.
    pub fn ready(
        self,
        fill: Fill<'_, impl FnOnce() -> String>,
    ) -> Result<Ready, bson::error::Error> {
        let id = self.id.unwrap_or_else(fill.id);
        let source = self.source.unwrap_or_else(|| fill.source.to_owned());
        let mut document = RawDocumentBuf::new();
        document.append(cstr!("id"), &*id);
        document.append(cstr!("source"), &*source);
        document.append(cstr!("type"), self.kind);
        let now = (self.form == Form::Plain).then_some(fill.time);
        if let Some(time) = self.time.or(now) {
            document.append(cstr!("time"), time);
        }
        for (name, value) in self.others {
            document.append(<&CStr>::try_from(&*name)?, RawBson::try_from(value)?);
        }
        if let Some(data) = self.data {
            document.append(cstr!("data"), RawBson::try_from(data)?);
        }
        Ok(Ready {
            id,
            source,
            document,
        })
    }
}

/// The body of an event in binary mode.
#[derive(Clone, PartialEq, Debug)]
pub enum Content {
    /// No data.
    Empty,
    /// JSON by its media type.
    Json(Value),
    /// Text, where its type says so, else bytes.
    Other(Bson),
}

impl Content {
    /// Reads a body by its media type; the error is why it is not the JSON that it claims to be.
    pub fn read(content_type: Option<&str>, body: &[u8]) -> Result<Self, String> {
        let bytes = || Self::Other(generic(body.to_vec()));
        let kind = content_type.and_then(|text| text.parse::<mime::Mime>().ok());
        Ok(match kind {
            _ if body.is_empty() => Self::Empty,
            Some(kind) if attribute::is_json(&kind) => Self::Json(parse_json(body)?),
            Some(kind) if attribute::is_utf8_text(&kind) => {
                std::str::from_utf8(body).map_or_else(|_| bytes(), |text| Self::Other(text.into()))
            }
            _ => bytes(),
        })
    }
}

/// Gathers attributes and faults.
struct Reader<'a> {
    at: At<'a>,
    faults: Vec<Fault>,
    attributes: Vec<(String, Bson)>,
    data: Option<Bson>,
}

impl<'a> Reader<'a> {
    fn new(at: At<'a>) -> Self {
        Self {
            at,
            faults: Vec::new(),
            attributes: Vec::new(),
            data: None,
        }
    }

    fn blame(&mut self, name: &str, detail: impl Into<String>) {
        let at = At::Key(&self.at, name);
        self.faults.push(Fault::new(at, detail));
    }

    fn has(&self, name: &str) -> bool {
        self.attributes.iter().any(|(known, _)| known == name)
    }

    fn json(&mut self, object: Map<String, Value>) {
        for (name, value) in object {
            match name.as_str() {
                "data" | "data_base64" if self.data.is_some() => {
                    self.blame(&name, "data and data_base64 exclude each other");
                }
                "data" => {
                    let at = At::Key(&self.at, "data");
                    self.data = Some(read_bson(value, at, &mut self.faults));
                }
                "data_base64" => self.base64(&value),
                _ => self.attribute(name, value),
            }
        }
    }

    fn base64(&mut self, value: &Value) {
        let bytes = value
            .as_str()
            .and_then(|text| data_encoding::BASE64.decode(text.as_bytes()).ok());
        if bytes.is_none() {
            self.blame("data_base64", "must be text in base64");
        }
        // Null stands in for what is wrong, so that a second one is still seen as such.
        self.data = Some(bytes.map_or(Bson::Null, generic));
    }

    /// Takes a context attribute; null means that it is not set.
    fn attribute(&mut self, name: String, value: Value) {
        if value.is_null() {
            return;
        }
        // Null is present too, so that what is wrong is not called missing as well.
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

    fn finish(mut self, form: Form) -> Result<NewEvent, Vec<Fault>> {
        let required = form == Form::CloudEvent;
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
            _ => Err(self.faults),
        }
    }
}

fn generic(bytes: Vec<u8>) -> Bson {
    Bson::Binary(Binary {
        subtype: BinarySubtype::Generic,
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Document, doc};
    use serde_json::json;

    const HERE: At<'_> = At::Pointer("#");

    fn document(event: Result<NewEvent, Vec<Fault>>) -> Document {
        let fill = Fill {
            id: || "filled".to_owned(),
            source: "/db/events",
            time: DateTime::from_millis(5),
        };
        let ready = event.unwrap().ready(fill).unwrap();
        let document = Document::try_from(ready.document).unwrap();
        assert_eq!(document.get_str("id").ok(), Some(&*ready.id));
        assert_eq!(document.get_str("source").ok(), Some(&*ready.source));
        document
    }

    fn pointers(event: Result<NewEvent, Vec<Fault>>) -> Vec<String> {
        let faults = event.unwrap_err();
        faults.into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn a_plain_event_needs_a_type_and_no_more() {
        let event = NewEvent::from_json(json!({"type": "t"}), Form::Plain, HERE);
        assert_eq!(
            document(event),
            doc! {"id": "filled", "source": "/db/events", "type": "t",
            "time": DateTime::from_millis(5)}
        );
        let event = NewEvent::from_json(json!({"subject": null}), Form::Plain, At::Pointer("#/7"));
        assert_eq!(pointers(event), ["#/7/type"]);
    }

    #[test]
    fn a_cloudevent_is_stored_with_its_types() {
        let event = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t",
            "subject": null, "ext": 7, "data": {"at": {"$date": "1970-01-01T00:00:01Z"}, "$x": 1}});
        assert_eq!(
            document(NewEvent::from_json(event, Form::CloudEvent, HERE)),
            doc! {"id": "1", "source": "/s", "type": "t", "ext": 7,
            "data": {"at": DateTime::from_millis(1_000), "$x": 1}}
        );
    }

    #[test]
    fn every_fault_of_an_event_is_pointed_at() {
        let event = json!({"specversion": "2", "source": "a b", "type": 5, "time": "now", "a_b": 1,
            "ts": 1, "data": {"x": {"$oid": "?"}}, "data_base64": "!"});
        assert_eq!(
            pointers(NewEvent::from_json(event, Form::CloudEvent, HERE)),
            [
                "#/specversion",
                "#/source",
                "#/type",
                "#/time",
                "#/a_b",
                "#/ts",
                "#/data/x",
                "#/data_base64",
                "#/id"
            ]
        );
        assert_eq!(
            pointers(NewEvent::from_json(json!(5), Form::Plain, HERE)),
            ["#"]
        );
    }

    #[test]
    fn base64_data_is_bytes() {
        let event = json!({"type": "t", "data_base64": "AQID"});
        let document = document(NewEvent::from_json(event, Form::Plain, HERE));
        assert_eq!(document.get("data"), Some(&generic(vec![1, 2, 3])));
        let event = json!({"type": "t", "data_base64": "?", "data": 1});
        let faults = pointers(NewEvent::from_json(event, Form::Plain, HERE));
        assert_eq!(faults, ["#/data_base64", "#/data"]);
    }

    fn binary(content_type: Option<&str>, body: &[u8]) -> Result<NewEvent, Vec<Fault>> {
        let attributes = [
            ("specversion", "1.0"),
            ("id", "1"),
            ("source", "/s"),
            ("type", "t"),
        ];
        let attributes = attributes.map(|(name, text)| (name, text.to_owned()));
        let content = Content::read(content_type, body).unwrap();
        NewEvent::from_parts(attributes, content_type, content)
    }

    #[test]
    fn binary_mode_keeps_json_and_text_and_bytes_apart() {
        for (content_type, body, data) in [
            (
                Some("application/json"),
                &br#"{"a":1}"#[..],
                Some(Bson::Document(doc! {"a": 1})),
            ),
            (
                Some("application/vnd.x+json"),
                b"[1]",
                Some(Bson::Array(vec![1.into()])),
            ),
            (Some("text/plain"), b"hi", Some("hi".into())),
            (
                Some("text/plain; charset=latin1"),
                b"hi",
                Some(generic(b"hi".to_vec())),
            ),
            (Some("text/plain"), &[0xFF], Some(generic(vec![0xFF]))),
            (Some("image/png"), &[1, 2], Some(generic(vec![1, 2]))),
            (None, &[1], Some(generic(vec![1]))),
            (Some("application/json"), b"", None),
        ] {
            let document = document(binary(content_type, body));
            assert_eq!(document.get("data"), data.as_ref(), "{content_type:?}");
            assert_eq!(document.get_str("datacontenttype").ok(), content_type);
        }
    }

    #[test]
    fn binary_mode_names_what_is_wrong() {
        assert!(Content::read(Some("application/json"), b"{").is_err());
        assert_eq!(
            pointers(binary(Some("application/json"), br#"{"a":{"$oid":1}}"#)),
            ["#/a"]
        );
        let attributes = [
            ("datacontenttype", "text/plain".to_owned()),
            ("ext", "x".to_owned()),
            ("ext", "y".to_owned()),
        ];
        let faults = pointers(NewEvent::from_parts(attributes, None, Content::Empty));
        assert_eq!(
            faults,
            [
                "/datacontenttype",
                "/ext",
                "/specversion",
                "/id",
                "/source",
                "/type"
            ]
        );
    }
}
