//! Any bytes as the body of a publish request, in every mode: reading ends, and what is accepted can be
//! stored, written as JSON and read again as an event.

#![no_main]

use bson::DateTime;
use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{
    event::{
        self, Defaults,
        input::{Content, Fill, Form, NewEvent, header_text},
    },
    extjson::{At, parse_json},
};

fuzz_target!(|bytes: &[u8]| {
    let [mode, body @ ..] = bytes else {
        return;
    };
    let event = match mode % 3 {
        0 => parse_json(body)
            .ok()
            .and_then(|json| NewEvent::from_json(json, Form::CloudEvent, At::Pointer("#")).ok()),
        1 => parse_json(body)
            .ok()
            .and_then(|json| NewEvent::from_json(json, Form::Plain, At::Pointer("#")).ok()),
        _ => binary_mode(body),
    };
    let Some(event) = event else {
        return;
    };
    let fill = Fill {
        id: || "filled".to_owned(),
        source: "/filled",
        time: DateTime::from_millis(0),
    };
    let stored = event.ready(fill).expect("it can be stored").document;
    let defaults = Defaults {
        source: "/default",
        committed: Some(DateTime::from_millis(0)),
    };
    let mut json = String::new();
    event::write_json(&stored, defaults, None, &mut json).expect("it can be written");
    let again = parse_json(json.as_bytes()).expect("it is JSON");
    let again = NewEvent::from_json(again, Form::CloudEvent, At::Pointer("#"));
    assert!(again.is_ok(), "{json}: {again:?}");
});

/// The first line is the content type, those up to an empty one are attributes, the rest is the data.
fn binary_mode(bytes: &[u8]) -> Option<NewEvent> {
    let mut lines = bytes.splitn(8, |byte| *byte == b'\n');
    let content_type = std::str::from_utf8(lines.next()?).ok()?;
    let content_type = Some(content_type).filter(|text| !text.is_empty());
    let mut attributes = Vec::new();
    let mut data: &[u8] = &[];
    for line in lines {
        let Some(at) = line.iter().position(|byte| *byte == b':') else {
            data = line;
            break;
        };
        let name = std::str::from_utf8(&line[..at]).ok()?;
        attributes.push((name, header_text(&line[at + 1..]).ok()?));
    }
    let content = Content::read(content_type, data).ok()?;
    NewEvent::from_parts(attributes, content_type, content).ok()
}
