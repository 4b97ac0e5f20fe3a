//! Events on standard output; what happens to the connection on standard error.

use std::io::IsTerminal as _;

use serde_json::{Map, Value};

use crate::{
    cli::{
        failure::Failure,
        style::{self, DIM, STRONG, paint, printable},
    },
    client::Frame,
    protocol::GapReason,
};

/// How events are written.
#[derive(Clone, Copy)]
enum Form {
    /// A line for people.
    Human,
    /// An event as a line of JSON.
    Event,
    /// A frame as a line of JSON.
    Frame,
}

/// Prints frames.
pub(super) struct Printer(Form);

impl Printer {
    /// Every frame if that is wanted; else events, as suits who reads.
    pub(super) fn new(frames: bool) -> Self {
        Self(match frames {
            true => Form::Frame,
            false if std::io::stdout().is_terminal() => Form::Human,
            false => Form::Event,
        })
    }

    /// Prints a frame, or the event in it.
    pub(super) fn print(&self, frame: &Frame) -> Result<(), Failure> {
        say(frame);
        match self.0 {
            Form::Frame => style::print_json(frame.as_text()),
            Form::Event if frame.is_event() => style::print_json(frame.field("event")),
            Form::Human if frame.is_event() => style::print(line(frame.field("event"))),
            Form::Event | Form::Human => Ok(()),
        }
    }
}

/// Says what happened to the connection.
fn say(frame: &Frame) {
    let subscription = frame.field("subscription");
    let status = subscription["status"].as_str().unwrap_or("");
    match frame.kind() {
        "connected" => {
            let id = subscription["id"].as_str().unwrap_or("");
            style::note(format!(
                "connected to {}{}",
                printable(id),
                remark(subscription, status)
            ));
        }
        "updated" => {
            let filter = printable(&subscription["filter"].to_string());
            style::note(format!(
                "updated: {status}, filter {filter}{}",
                remark(subscription, status)
            ));
        }
        "gap" if frame.text("reason") == GapReason::BeforeSubscription.token() => {
            style::note("the subscription began after that; delivery begins with it");
        }
        "gap" => style::warn(format!(
            "events may be missing here: {}",
            printable(frame.text("reason"))
        )),
        "ended" => style::note(format!("ended: {}", printable(frame.text("reason")))),
        _ => {}
    }
}

/// Why nothing comes, if nothing comes.
fn remark(subscription: &Value, status: &str) -> String {
    match status {
        "paused" => "; it is paused, nothing comes until it is active again".to_owned(),
        "invalid" => {
            let error = subscription["error"].as_str().unwrap_or("");
            format!("; it is invalid, nothing comes: {}", printable(error))
        }
        _ => String::new(),
    }
}

/// An event for people: when, what, where, about what, and its content.
fn line(event: &Value) -> String {
    let text = |field: &str| printable(event[field].as_str().unwrap_or(""));
    let mut line = format!(
        "{}  {}  {}",
        paint(DIM, text("time")),
        paint(STRONG, text("type")),
        text("source")
    );
    let subject = text("subject");
    if !subject.is_empty() {
        line = format!("{line}  {subject}");
    }
    match content(event) {
        Some(content) => format!("{line}  {}", printable(&content)),
        None => line,
    }
}

/// `data`; where there is none, what else the document holds.
fn content(event: &Value) -> Option<String> {
    const SHOWN: [&str; 6] = ["specversion", "id", "source", "type", "time", "subject"];
    if let Some(data) = event.get("data") {
        return Some(data.to_string());
    }
    let rest: Map<String, Value> = event
        .as_object()?
        .iter()
        .filter(|(key, _)| !SHOWN.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    (!rest.is_empty()).then(|| Value::from(rest).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(event: &Value, expected: &str) {
        let line = line(event);
        assert_eq!(anstream::adapter::strip_str(&line).to_string(), expected);
    }

    #[test]
    fn a_line_has_the_attributes_and_the_content() {
        check(
            &json!({"id": "1", "type": "t", "source": "/s", "time": "T", "data": {"a": 1}}),
            "T  t  /s  {\"a\":1}",
        );
        check(
            &json!({"id": "1", "type": "t", "source": "/s", "time": "T", "subject": "x", "amount": 5}),
            "T  t  /s  x  {\"amount\":5}",
        );
        check(
            &json!({"type": "a\u{1b}[2Jb", "source": "", "time": ""}),
            r"  a\u{1b}[2Jb  ",
        );
    }
}
