//! Any bytes as the body of a publish request, in every mode: reading ends, and every accepted event can be stored, written
//! as JSON and read again. The target stands here since only this crate sees the reader.

use crate::{
    event::{
        self, Defaults,
        input::{EventForm, MissingAttributes, NewEvent, header_text},
    },
    extjson::{JsonPointer, parse_with},
};
use bson::DateTime;

/// Reads the bytes in one of the modes, and writes what is accepted and reads it again.
pub fn run(bytes: &[u8]) {
    let [mode, body @ ..] = bytes else {
        return;
    };
    let event = match mode % 3 {
        0 => read(body, EventForm::CloudEvent),
        1 => read(body, EventForm::Plain),
        _ => binary_mode(body),
    };
    let Some(event) = event else {
        return;
    };
    let fill = MissingAttributes {
        id: || "filled".to_owned(),
        source: "/filled",
        time: DateTime::from_millis(0),
    };
    let stored = event
        .into_storable(fill)
        .expect("it can be stored")
        .document;
    let defaults = Defaults {
        source: "/default",
        committed: Some(DateTime::from_millis(0)),
    };
    let mut json = String::new();
    event::write_json(&stored, defaults, &mut json).expect("it can be written");
    let again = read(json.as_bytes(), EventForm::CloudEvent);
    assert!(again.is_some(), "{json}");
    event::write_cloudevent(&stored, defaults, "c", &mut json).expect("it can be written");
}

fn read(body: &[u8], form: EventForm) -> Option<NewEvent> {
    let event = parse_with(body, |json| {
        NewEvent::from_json(json, form, JsonPointer::Text("#"), usize::MAX)
    });
    event.ok()?.ok()
}

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
    NewEvent::from_parts(attributes, content_type, data, usize::MAX)
        .ok()?
        .ok()
}
