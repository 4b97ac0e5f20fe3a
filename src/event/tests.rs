use super::{
    input::attribute::{has_scheme, is_name, is_text, is_uri_reference},
    *,
};
use bson::{
    Bson, Document, RawBson, RawDocumentBuf, Timestamp, doc, oid::ObjectId, raw::CStr,
    spec::BinarySubtype,
};
use serde_json::{Value, json};

/// Shows the event; with a cursor, as a `CloudEvent`.
fn shown(document: &Document, cursor: Option<&str>) -> Value {
    let raw = RawDocumentBuf::try_from(document).unwrap();
    let defaults = Defaults {
        source: "/db/events",
        committed: Some(DateTime::from_millis(1_000)),
    };
    let mut out = String::new();
    match cursor {
        None => write_json(&raw, defaults, &mut out).unwrap(),
        Some(cursor) => write_cloudevent(&raw, defaults, cursor, &mut out).unwrap(),
    };
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

fn binary(subtype: BinarySubtype, bytes: &[u8]) -> Bson {
    Bson::Binary(bson::Binary {
        subtype,
        bytes: bytes.to_vec(),
    })
}

/// Returns at least one value of each BSON type, and the odd ones of each.
fn values() -> Vec<Bson> {
    let text = [
        "",
        "x",
        " ",
        "a\nb",
        "a\u{7f}b",
        "\u{85}",
        "\u{FFFF}",
        "ä",
        "50%",
        "%zz",
        "a b",
        "#a#b",
        "http://x/y",
        "application/json",
        "text/plain",
        "AQID",
        "2026-01-02T03:04:05Z",
    ];
    let dates = [
        0,
        i64::MIN,
        i64::MAX,
        253_402_300_800_000,
        -62_135_596_800_001,
    ];
    let regex = bson::Regex {
        pattern: "a".try_into().unwrap(),
        options: "i".try_into().unwrap(),
    };
    let code = bson::JavaScriptCodeWithScope {
        code: "f".to_owned(),
        scope: doc! {"a": 1},
    };
    let mut values = vec![
        Bson::Null,
        true.into(),
        0.into(),
        i32::MIN.into(),
        5_i64.into(),
        (1_i64 << 31).into(),
        1.5.into(),
        f64::NAN.into(),
        Bson::Decimal128("1.5".parse().unwrap()),
        doc! {}.into(),
        doc! {"a": 1}.into(),
        Bson::Array(vec![]),
        Bson::Array(vec![1.into()]),
        ObjectId::from_bytes([7; 12]).into(),
        Timestamp {
            time: 1,
            increment: 2,
        }
        .into(),
        binary(BinarySubtype::Generic, b"abc"),
        binary(BinarySubtype::Generic, b""),
        binary(BinarySubtype::Uuid, &[3; 16]),
        binary(BinarySubtype::BinaryOld, b"abc"),
        Bson::RegularExpression(regex),
        Bson::JavaScriptCode("f".to_owned()),
        Bson::JavaScriptCodeWithScope(code),
        Bson::Symbol("s".to_owned()),
        Bson::Undefined,
        Bson::MinKey,
        Bson::MaxKey,
    ];
    values.extend(text.map(Bson::from));
    values.extend(dates.map(|ms| DateTime::from_millis(ms).into()));
    values
}

/// Holds an event to the CloudEvents specification 1.0.2 and its JSON format.
fn check_cloudevent(event: &Value, of: &Document) {
    let case = format!("{event} of {of}");
    let attributes = event.as_object().unwrap();
    let text = |name: &str| {
        let text = attributes[name].as_str().expect(&case);
        assert!(is_text(text), "{name}: {case}");
        text
    };
    assert_eq!(text("specversion"), "1.0");
    assert!(is_uri_reference(text("source")), "{case}");
    for name in ["id", "type", "tidegatecursor"] {
        text(name);
    }
    assert!(
        !(attributes.contains_key("data") && attributes.contains_key("data_base64")),
        "{case}"
    );
    for (name, value) in attributes {
        match name.as_str() {
            "data" => {}
            "data_base64" => {
                let text = value.as_str().expect(&case);
                data_encoding::BASE64.decode(text.as_bytes()).expect(&case);
            }
            "time" => {
                let parsed = DateTime::parse_rfc3339_str(text(name)).expect(&case);
                assert!(parsed.timestamp_millis() >= -62_135_596_800_000, "{case}");
            }
            "dataschema" => assert!(
                is_uri_reference(text(name)) && has_scheme(text(name)),
                "{case}"
            ),
            "datacontenttype" => drop(media::Media::parse(text(name)).expect(&case)),
            "subject" => drop(text(name)),
            _ => {
                assert!(is_name(name), "{name}: {case}");
                match value {
                    Value::Bool(_) => {}
                    Value::Number(number) => {
                        let number = number.as_i64().expect(&case);
                        assert!(i32::try_from(number).is_ok(), "{case}");
                    }
                    Value::String(_) => drop(text(name)),
                    _ => panic!("{name}: {case}"),
                }
            }
        }
    }
}

const NAMES: [&str; 20] = [
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "specversion",
    "data",
    "data_base64",
    "ext",
    "Ext",
    "a-b",
    "__v",
    "_class",
    "createdAt",
    "",
    "ts",
    "storedAt",
    "ä",
];

/// Prints each, so that another implementation can be asked too: `cargo test -- --nocapture | grep ^CE`.
#[test]
fn every_value_in_every_place_makes_a_cloudevent() {
    for name in NAMES {
        for value in values() {
            for other in [
                doc! {},
                doc! {"data": {"n": 1}},
                doc! {"data_base64": "AQID"},
                doc! {"datacontenttype": "text/plain"},
            ] {
                let mut document = doc! {"_id": "i"};
                document.extend(other);
                document.insert(name, value.clone());
                let event = shown(&document, Some("C"));
                println!("CE {event}");
                check_cloudevent(&event, &document);
                assert!(shown(&document, None).is_object());
            }
        }
    }
    for value in values() {
        let document = doc! {"_id": value};
        check_cloudevent(&shown(&document, Some("C")), &document);
    }
}

#[test]
fn what_is_no_attribute_is_content_where_there_is_none() {
    let odd = doc! {"_id": "a", "__v": 3, "createdAt": "today", "amount": 2.5, "note": "n", "count": 5_i64,
    "subject": 7, "time": "noon", "big": 1_i64 << 40, "list": [1], "none": Bson::Null};
    let event = shown(&odd, Some("C"));
    assert_eq!(
        event,
        json!({"specversion": "1.0", "id": "a", "source": "/db/events", "type": "tidegate.event",
            "time": "1970-01-01T00:00:01Z", "note": "n", "count": 5, "tidegatecursor": "C",
            "data": {"__v": 3, "createdAt": "today", "amount": 2.5, "subject": 7, "time": "noon",
                "big": 1_i64 << 40, "list": [1], "none": null}})
    );
    let mut with_data = odd;
    with_data.insert("data", 1);
    let event = shown(&with_data, Some("C"));
    assert_eq!(event["data"], 1);
    assert_eq!(event.get("__v"), None);
    let text = doc! {"_id": "a", "datacontenttype": "text/plain", "n": 1.5};
    let event = shown(&text, Some("C"));
    assert_eq!(
        event["data"],
        json!({"n": 1.5, "datacontenttype": "text/plain"})
    );
    assert_eq!(event.get("datacontenttype"), None);
}

#[test]
fn identities_that_no_attribute_can_have_are_escaped() {
    let event = shown(
        &doc! {"_id": "x", "id": "", "source": "a b/ä", "type": "t\n"},
        Some("C"),
    );
    assert_eq!(event["id"], "x");
    assert_eq!(event["source"], "a%20b/%C3%A4");
    assert_eq!(event["type"], "t%0A");
}

/// Returns a document of these fields in this order, repeated names included.
fn of_fields(fields: &[(&str, RawBson)]) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    for (name, value) in fields {
        document.append(<&CStr>::try_from(*name).unwrap(), value.clone());
    }
    document
}

fn both(document: &RawDocument) -> [(Value, bool); 2] {
    let defaults = Defaults {
        source: "/db/events",
        committed: None,
    };
    let (mut own, mut bare) = (String::new(), String::new());
    let mended = write_json(document, defaults, &mut own).unwrap();
    assert_eq!(
        mended,
        write_cloudevent(document, defaults, "C", &mut bare).unwrap()
    );
    // The reader refuses duplicate keys, so a field that is written twice is an error.
    [own, bare].map(|text| {
        (
            crate::extjson::parse_json(text.as_bytes()).expect(&text),
            mended,
        )
    })
}

#[test]
fn of_several_fields_with_one_name_the_first_counts() {
    let inner = of_fields(&[("x", 1.into()), ("x", 2.into())]);
    let mut fields = vec![("_id", 1.into()), ("_id", 2.into())];
    for name in ["id", "source", "type", "subject", "ext", "time"] {
        fields.push((name, "first".into()));
        fields.push((name, "second".into()));
    }
    fields.push(("data", inner.into()));
    fields.push(("data", RawBson::Null));
    let document = of_fields(&fields);
    for (event, mended) in both(&document) {
        assert!(!mended);
        for name in ["id", "source", "type", "subject", "ext"] {
            assert_eq!(event[name], "first", "{event}");
        }
        assert_eq!(event["data"], json!({"x": 1}));
    }
    let first = ("first".to_owned(), "first".to_owned());
    assert_eq!(identity(&document, "").unwrap(), first);
    let unset = of_fields(&[
        ("_id", 1.into()),
        ("id", RawBson::Null),
        ("id", "second".into()),
    ]);
    assert_eq!(identity(&unset, "s").unwrap().0, "1", "null comes first");
    let bytes = RawBson::try_from(binary(BinarySubtype::Generic, b"abc")).unwrap();
    let beside = of_fields(&[("data_base64", "AQID".into()), ("data", bytes)]);
    for (event, _) in both(&beside) {
        assert_eq!(event["data_base64"], "YWJj");
    }
}

#[test]
fn an_event_that_is_no_text_is_shown_with_replacements() {
    let inner = of_fields(&[("kXy", "vX".into())]);
    let fields: Vec<(&str, RawBson)> = vec![
        ("_id", 1.into()),
        ("id", "idX".into()),
        ("keyX", "vX".into()),
        ("data", inner.into()),
    ];
    let mut bytes = of_fields(&fields).into_bytes();
    for byte in &mut bytes {
        if *byte == b'X' {
            *byte = 0xFF;
        }
    }
    let document = RawDocumentBuf::from_bytes(bytes).unwrap();
    let [(own, mended), (bare, _)] = both(&document);
    assert!(mended);
    assert_eq!(own["key\u{FFFD}"], "v\u{FFFD}");
    for event in [own, bare] {
        assert_eq!(event["id"], "id\u{FFFD}");
        assert_eq!(event["data"], json!({"k\u{FFFD}y": "v\u{FFFD}"}));
    }
    assert_eq!(identity(&document, "s").unwrap().0, "id\u{FFFD}");
}

#[test]
fn a_missing_time_is_the_commits_once_that_is_written_down() {
    let committed = DateTime::from_millis(2_000);
    let ts = Timestamp {
        time: 9,
        increment: 1,
    };
    let theirs = doc! {"_id": 1, "ts": "text", "storedAt": 5};
    for cursor in [None, Some("c")] {
        let dated = shown(&doc! {"_id": 1, "ts": ts, "storedAt": committed}, cursor);
        assert_eq!(dated["time"], "1970-01-01T00:00:02Z");
        assert_eq!(shown(&theirs, cursor)["time"], "1970-01-01T00:00:01Z");
    }
    let shown = shown(&theirs, None);
    assert_eq!(
        (&shown["ts"], &shown["storedAt"]),
        (&json!("text"), &json!(5))
    );
}
