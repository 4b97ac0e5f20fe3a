//! Events as they are published: CloudEvents 1.0 in JSON or in headers, or plain objects.
//!
//! Pure reading and checking, by the CloudEvents specification 1.0.2, its JSON format and its HTTP
//! protocol binding. Each fault is pointed at; `data` is Extended JSON, so that dates and 64-bit
//! numbers keep their types.

pub(super) mod attribute;
mod reader;

use bson::{
    Bson, DateTime, RawBson, RawDocumentBuf,
    raw::{CStr, cstr},
};
use serde::de::{DeserializeSeed as _, Deserializer};
use serde_json::Value;

use self::reader::Reader;
use crate::extjson::{Faults, JsonPointer, Object};

pub(crate) use self::attribute::{has_broken_escape, header_text};

/// How much of an event must be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// All that the specification requires.
    CloudEvent,
    /// `specversion`, `id`, `source` and `time` may be left out and are filled in.
    Plain,
}

/// What stands in for attributes that a plain event leaves out.
#[derive(Clone, Debug)]
pub(crate) struct Fill<'a, F> {
    /// Makes a missing `id`.
    pub id: F,
    /// For a missing `source`.
    pub source: &'a str,
    /// For a missing `time` of a plain event.
    pub time: DateTime,
}

/// An event as its document, and the names that its publisher gets back.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Ready {
    /// The event's `id`.
    pub id: String,
    /// The event's `source`.
    pub source: String,
    /// The event, without the fields that the store adds.
    pub document: RawDocumentBuf,
}

/// Why an event is not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// What is wrong with it.
    Faulty(Faults),
    /// As BSON it is larger than it may be.
    TooLarge,
}

/// An event that was read and found good. Attributes stand as they will be stored.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct NewEvent {
    form: Form,
    id: Option<String>,
    source: Option<String>,
    kind: String,
    time: Option<DateTime>,
    /// `subject`, `datacontenttype`, `dataschema` and extensions, as given.
    others: Vec<(String, Bson)>,
    data: Option<RawBson>,
}

impl NewEvent {
    /// Reads an event in the JSON format. `at` is its place in the body; as BSON it may have `most` bytes,
    /// and no more than that is made of it. The outer error is that of the JSON.
    pub(crate) fn from_json<'de, D: Deserializer<'de>>(
        json: D,
        form: Form,
        at: JsonPointer<'_>,
        most: usize,
    ) -> Result<Result<Self, Refusal>, D::Error> {
        let mut reader = Reader::new(at, most);
        if !Object(&mut reader).deserialize(json)? {
            reader.faults.blame(at, "must be an object");
            return Ok(Err(Refusal::Faulty(reader.faults)));
        }
        Ok(reader.finish(form))
    }

    /// Reads an event in binary mode: `attributes` are the `ce-` headers without that prefix, in
    /// lower case and decoded, `content_type` becomes `datacontenttype`. Faults of attributes have a
    /// pointer without `#` (`/id`): it is not the body that they stand in. The outer error is why the body
    /// is not the JSON that it claims to be.
    pub(crate) fn from_parts<'a>(
        attributes: impl IntoIterator<Item = (&'a str, String)>,
        content_type: Option<&str>,
        body: &[u8],
        most: usize,
    ) -> Result<Result<Self, Refusal>, String> {
        let mut reader = Reader::new(JsonPointer::Text(""), most);
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
        reader.content(content_type, body)?;
        Ok(reader.finish(Form::CloudEvent))
    }

    /// The event's document, with what it lacks filled in. An error is why BSON cannot hold it.
    pub(crate) fn ready(
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
            document.append(cstr!("data"), data);
        }
        Ok(Ready {
            id,
            source,
            document,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{reader::generic, *};
    use bson::{Document, doc};
    use serde_json::json;

    const HERE: JsonPointer<'_> = JsonPointer::Text("#");

    const MOST: usize = 1 << 20;

    fn read(json: Value, form: Form) -> Result<NewEvent, Refusal> {
        NewEvent::from_json(json, form, HERE, MOST).unwrap()
    }

    fn document(event: Result<NewEvent, Refusal>) -> Document {
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

    fn pointers(event: Result<NewEvent, Refusal>) -> Vec<String> {
        let Err(Refusal::Faulty(faults)) = event else {
            panic!("{event:?}");
        };
        faults.into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn a_plain_event_needs_a_type_and_no_more() {
        let event = read(json!({"type": "t"}), Form::Plain);
        assert_eq!(
            document(event),
            doc! {"id": "filled", "source": "/db/events", "type": "t",
            "time": DateTime::from_millis(5)}
        );
        let event = NewEvent::from_json(
            json!({"subject": null}),
            Form::Plain,
            JsonPointer::Text("#/7"),
            MOST,
        );
        let event = event.unwrap();
        assert_eq!(pointers(event), ["#/7/type"]);
    }

    #[test]
    fn a_cloudevent_is_stored_with_its_types() {
        let event = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t",
            "subject": null, "ext": 7, "data": {"at": {"$date": "1970-01-01T00:00:01Z"}, "$x": 1}});
        assert_eq!(
            document(read(event, Form::CloudEvent)),
            doc! {"id": "1", "source": "/s", "type": "t", "ext": 7,
            "data": {"at": DateTime::from_millis(1_000), "$x": 1}}
        );
    }

    #[test]
    fn every_fault_of_an_event_is_pointed_at() {
        let event = json!({"specversion": "2", "source": "a b", "type": 5, "time": "now", "a_b": 1,
            "ts": 1, "data": {"x": {"$oid": "?"}}, "data_base64": "!"});
        assert_eq!(
            pointers(read(event, Form::CloudEvent)),
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
        assert_eq!(pointers(read(json!(5), Form::Plain)), ["#"]);
    }

    #[test]
    fn base64_data_is_bytes() {
        let event = json!({"type": "t", "data_base64": "AQID"});
        let document = document(read(event, Form::Plain));
        assert_eq!(document.get("data"), Some(&bytes(&[1, 2, 3])));
        let event = json!({"type": "t", "data_base64": "?", "data": 1});
        let faults = pointers(read(event, Form::Plain));
        assert_eq!(faults, ["#/data_base64", "#/data"]);
    }

    #[test]
    fn null_is_content_that_is_not_set() {
        for (content, expected) in [
            (json!({"data_base64": null}), None),
            (json!({"data": null, "data_base64": null}), Some(Bson::Null)),
            (
                json!({"data": 1, "data_base64": null}),
                Some(Bson::Int32(1)),
            ),
            (
                json!({"data_base64": null, "data": 1}),
                Some(Bson::Int32(1)),
            ),
            (
                json!({"data": null, "data_base64": "AQID"}),
                Some(bytes(&[1, 2, 3])),
            ),
            (
                json!({"data_base64": "AQID", "data": null}),
                Some(bytes(&[1, 2, 3])),
            ),
        ] {
            let mut event = json!({"type": "t"});
            event
                .as_object_mut()
                .unwrap()
                .extend(content.as_object().unwrap().clone());
            let document = document(read(event, Form::Plain));
            assert_eq!(document.get("data"), expected.as_ref(), "{content}");
        }
    }

    fn bytes(bytes: &[u8]) -> Bson {
        Bson::try_from(generic(bytes.to_vec())).unwrap()
    }

    fn binary(content_type: Option<&str>, body: &[u8]) -> Result<NewEvent, Refusal> {
        let attributes = [
            ("specversion", "1.0"),
            ("id", "1"),
            ("source", "/s"),
            ("type", "t"),
        ];
        let attributes = attributes.map(|(name, text)| (name, text.to_owned()));
        NewEvent::from_parts(attributes, content_type, body, MOST).unwrap()
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
                Some(bytes(b"hi")),
            ),
            (Some("text/plain"), &[0xFF], Some(bytes(&[0xFF]))),
            (Some("image/png"), &[1, 2], Some(bytes(&[1, 2]))),
            (None, &[1], Some(bytes(&[1]))),
            (Some("application/json"), b"", None),
        ] {
            let document = document(binary(content_type, body));
            assert_eq!(document.get("data"), data.as_ref(), "{content_type:?}");
            assert_eq!(document.get_str("datacontenttype").ok(), content_type);
        }
    }

    #[test]
    fn binary_mode_names_what_is_wrong() {
        let none: [(&str, String); 0] = [];
        assert!(NewEvent::from_parts(none, Some("application/json"), b"{", MOST).is_err());
        assert_eq!(
            pointers(binary(Some("application/json"), br#"{"a":{"$oid":1}}"#)),
            ["#/a"]
        );
        let attributes = [
            ("datacontenttype", "text/plain".to_owned()),
            ("ext", "x".to_owned()),
            ("ext", "y".to_owned()),
        ];
        let faults = pointers(NewEvent::from_parts(attributes, None, b"", MOST).unwrap());
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

    #[test]
    fn no_more_is_made_of_an_event_than_it_may_have() {
        let long = "x".repeat(100);
        let many: serde_json::Map<_, _> = (0..50)
            .map(|n| (format!("a{n}"), json!(n)))
            .chain([("type".to_owned(), json!("t"))])
            .collect();
        for event in [
            json!({"type": "t", "data": {"a": long}}),
            json!({"type": "t", "subject": long}),
            json!({"type": "t", "data_base64": data_encoding::BASE64.encode(long.as_bytes())}),
            json!({"type": "t", "data": vec![1; 20]}),
            many.into(),
        ] {
            let small = NewEvent::from_json(event.clone(), Form::Plain, HERE, 100).unwrap();
            assert_eq!(small, Err(Refusal::TooLarge), "{event}");
            assert!(read(event, Form::Plain).is_ok());
        }
        let attributes =
            ["specversion", "id", "source", "type"].map(|name| (name, "1.0".to_owned()));
        let large = NewEvent::from_parts(attributes, None, long.as_bytes(), 100);
        assert_eq!(large, Ok(Err(Refusal::TooLarge)));
    }

    #[test]
    fn an_event_with_a_hundred_faults_is_read_no_further() {
        let bad: serde_json::Map<_, _> = (0..1_000).map(|n| (format!("A{n}"), json!(n))).collect();
        assert_eq!(pointers(read(bad.into(), Form::Plain)).len(), 100);
    }
}
