//! Published events: CloudEvents 1.0 in JSON or in headers, or plain objects.
//!
//! They are read and checked by the CloudEvents specification 1.0.2, its JSON format and its HTTP protocol
//! binding. Every fault has a pointer. `data` is Extended JSON, so that dates and 64-bit numbers keep their types.

pub(super) mod attribute;
mod new_event;
mod reader;

use serde::de::{DeserializeSeed as _, Deserializer};
use serde_json::Value;

use self::reader::EventReader;
use crate::extjson::{JsonPointer, Object};

pub(crate) use self::attribute::{has_broken_escape, header_text};
pub(crate) use self::new_event::{
    EventForm, EventRefusal, MissingAttributes, NewEvent, StorableEvent,
};

impl NewEvent {
    /// Reads an event in the JSON format, up to `max_bytes` as BSON. `at` is its place in the body. The outer error
    /// is the JSON parser's.
    pub(crate) fn from_json<'de, D: Deserializer<'de>>(
        json: D,
        form: EventForm,
        at: JsonPointer<'_>,
        max_bytes: usize,
    ) -> Result<Result<Self, EventRefusal>, D::Error> {
        let mut reader = EventReader::new(at, max_bytes);
        if !Object(&mut reader).deserialize(json)? {
            reader.faults.blame(at, "must be an object");
            return Ok(Err(EventRefusal::Faulty(reader.faults)));
        }
        Ok(reader.finish(form))
    }

    /// Reads an event in binary mode. `attributes` are the `ce-` headers without that prefix, in lower case and
    /// decoded; `content_type` becomes `datacontenttype`. Pointers to attributes have no `#` (`/id`), since they do
    /// not point into the body. The outer error is the JSON parser's, if the body claims to be JSON.
    pub(crate) fn from_parts<'a>(
        attributes: impl IntoIterator<Item = (&'a str, String)>,
        content_type: Option<&str>,
        body: &[u8],
        max_bytes: usize,
    ) -> Result<Result<Self, EventRefusal>, String> {
        let mut reader = EventReader::new(JsonPointer::Text(""), max_bytes);
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
        Ok(reader.finish(EventForm::CloudEvent))
    }
}

#[cfg(test)]
mod tests {
    use super::{reader::generic, *};
    use bson::{Bson, DateTime, Document, doc};
    use serde_json::json;

    const HERE: JsonPointer<'_> = JsonPointer::Text("#");

    const MAX_BYTES: usize = 1 << 20;

    fn read(json: Value, form: EventForm) -> Result<NewEvent, EventRefusal> {
        NewEvent::from_json(json, form, HERE, MAX_BYTES).unwrap()
    }

    fn document(event: Result<NewEvent, EventRefusal>) -> Document {
        let fill = MissingAttributes {
            id: || "filled".to_owned(),
            source: "/db/events",
            time: DateTime::from_millis(5),
        };
        let ready = event.unwrap().into_storable(fill).unwrap();
        let document = Document::try_from(ready.document).unwrap();
        assert_eq!(document.get_str("id").ok(), Some(&*ready.id));
        assert_eq!(document.get_str("source").ok(), Some(&*ready.source));
        document
    }

    fn pointers(event: Result<NewEvent, EventRefusal>) -> Vec<String> {
        let Err(EventRefusal::Faulty(faults)) = event else {
            panic!("{event:?}");
        };
        faults.into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn a_plain_event_needs_a_type_and_no_more() {
        let event = read(json!({"type": "t"}), EventForm::Plain);
        assert_eq!(
            document(event),
            doc! {"id": "filled", "source": "/db/events", "type": "t",
            "time": DateTime::from_millis(5)}
        );
        let event = NewEvent::from_json(
            json!({"subject": null}),
            EventForm::Plain,
            JsonPointer::Text("#/7"),
            MAX_BYTES,
        );
        let event = event.unwrap();
        assert_eq!(pointers(event), ["#/7/type"]);
    }

    #[test]
    fn a_cloudevent_is_stored_with_its_types() {
        let event = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t",
            "subject": null, "ext": 7, "data": {"at": {"$date": "1970-01-01T00:00:01Z"}, "$x": 1}});
        assert_eq!(
            document(read(event, EventForm::CloudEvent)),
            doc! {"id": "1", "source": "/s", "type": "t", "ext": 7,
            "data": {"at": DateTime::from_millis(1_000), "$x": 1}}
        );
    }

    #[test]
    fn every_fault_of_an_event_is_pointed_at() {
        let event = json!({"specversion": "2", "source": "a b", "type": 5, "time": "now", "a_b": 1,
            "ts": 1, "data": {"x": {"$oid": "?"}}, "data_base64": "!"});
        assert_eq!(
            pointers(read(event, EventForm::CloudEvent)),
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
        assert_eq!(pointers(read(json!(5), EventForm::Plain)), ["#"]);
    }

    #[test]
    fn base64_data_is_bytes() {
        let event = json!({"type": "t", "data_base64": "AQID"});
        let document = document(read(event, EventForm::Plain));
        assert_eq!(document.get("data"), Some(&bytes(&[1, 2, 3])));
        let event = json!({"type": "t", "data_base64": "?", "data": 1});
        let faults = pointers(read(event, EventForm::Plain));
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
            let document = document(read(event, EventForm::Plain));
            assert_eq!(document.get("data"), expected.as_ref(), "{content}");
        }
    }

    fn bytes(bytes: &[u8]) -> Bson {
        Bson::try_from(generic(bytes.to_vec())).unwrap()
    }

    fn binary(content_type: Option<&str>, body: &[u8]) -> Result<NewEvent, EventRefusal> {
        let attributes = [
            ("specversion", "1.0"),
            ("id", "1"),
            ("source", "/s"),
            ("type", "t"),
        ];
        let attributes = attributes.map(|(name, text)| (name, text.to_owned()));
        NewEvent::from_parts(attributes, content_type, body, MAX_BYTES).unwrap()
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
        assert!(NewEvent::from_parts(none, Some("application/json"), b"{", MAX_BYTES).is_err());
        assert_eq!(
            pointers(binary(Some("application/json"), br#"{"a":{"$oid":1}}"#)),
            ["#/a"]
        );
        let attributes = [
            ("datacontenttype", "text/plain".to_owned()),
            ("ext", "x".to_owned()),
            ("ext", "y".to_owned()),
        ];
        let faults = pointers(NewEvent::from_parts(attributes, None, b"", MAX_BYTES).unwrap());
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
            let small = NewEvent::from_json(event.clone(), EventForm::Plain, HERE, 100).unwrap();
            assert_eq!(small, Err(EventRefusal::TooLarge), "{event}");
            assert!(read(event, EventForm::Plain).is_ok());
        }
        let attributes =
            ["specversion", "id", "source", "type"].map(|name| (name, "1.0".to_owned()));
        let large = NewEvent::from_parts(attributes, None, long.as_bytes(), 100);
        assert_eq!(large, Ok(Err(EventRefusal::TooLarge)));
    }

    #[test]
    fn an_event_with_a_hundred_faults_is_read_no_further() {
        let bad: serde_json::Map<_, _> = (0..1_000).map(|n| (format!("A{n}"), json!(n))).collect();
        assert_eq!(pointers(read(bad.into(), EventForm::Plain)).len(), 100);
    }
}
