//! Events go to standard output, news of the connection to standard error.

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

/// The form of the output.
#[derive(Clone, Copy)]
enum Form {
    /// A line for people.
    Human,
    /// An event as a line of JSON.
    Event,
    /// A frame as a line of JSON.
    Frame,
}

/// A printer of frames.
pub(super) struct Printer(Form);

impl Printer {
    /// Chooses the form: every frame, or else events, for people in a terminal and for programs elsewhere.
    pub(super) fn new(frames: bool) -> Self {
        Self(match frames {
            true => Form::Frame,
            false if std::io::stdout().is_terminal() => Form::Human,
            false => Form::Event,
        })
    }

    /// Prints a frame, or the event in it.
    pub(super) fn print(&self, frame: &Frame) -> Result<(), Failure> {
        print_news(frame);
        match self.0 {
            Form::Frame => style::print_json(frame.as_text()),
            Form::Event if frame.is_event() => style::print_json(frame.field("event")),
            Form::Human if frame.is_event() => style::print(line(frame.field("event"))),
            Form::Event | Form::Human => Ok(()),
        }
    }
}

/// Tells what happened to the connection.
fn print_news(frame: &Frame) {
    let subscription = frame.field("subscription");
    let status = subscription["status"].as_str().unwrap_or("");
    match frame.kind() {
        "connected" => {
            let id = subscription["id"].as_str().unwrap_or("the filter");
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
            style::note("the subscription is newer than that; delivery begins with it");
        }
        "gap" => style::warn(format!(
            "events may be missing here: {}",
            printable(frame.text("reason"))
        )),
        "expiring" => {
            let end = printable(frame.text("expiresAt"));
            style::note(format!("the credential ends at {end}"));
        }
        "refreshed" => style::note("the credential was refreshed"),
        "refused" if !frame.text("handle").is_empty() => style::warn(format!(
            "{} is refused: {}",
            printable(frame.text("handle")),
            printable(frame.field("problem")["detail"].as_str().unwrap_or(""))
        )),
        "ended" if !frame.text("handle").is_empty() => style::note(format!(
            "{} ended: {}",
            printable(frame.text("handle")),
            printable(frame.text("reason"))
        )),
        "refused" => style::warn(format!(
            "the new credential was refused: {}",
            printable(frame.field("problem")["detail"].as_str().unwrap_or(""))
        )),
        "ended" => style::note(format!("ended: {}", printable(frame.text("reason")))),
        _ => {}
    }
}

/// Explains why nothing comes, if nothing comes.
fn remark(subscription: &Value, status: &str) -> String {
    match status {
        "paused" => "; it is paused: nothing is delivered until it is active again".to_owned(),
        "invalid" => {
            let error = subscription["error"].as_str().unwrap_or("");
            format!(
                "; it is invalid, so nothing is delivered: {}",
                printable(error)
            )
        }
        _ => String::new(),
    }
}

/// Writes an event for people: time, type, source, subject and content.
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

/// Returns `data`, or the other fields of the document if there is none.
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
