//! The forms in which events arrive: CloudEvents in structured, batched and binary mode (HTTP protocol binding 1.0.2,
//! section 3), and plain objects.

use std::fmt;

use axum::http::{HeaderMap, header};
use serde::{
    Deserialize as _,
    de::{self, DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor},
};

use crate::{
    event::{
        input::{EventForm, EventRefusal, NewEvent, header_text},
        media::Media,
    },
    extjson::{Fault, Faults, JsonPointer, without_mark},
    http::edge::{
        body::{self, Accepts},
        problem::{Kind, Problem},
    },
};

const STRUCTURED: &str = "application/cloudevents+json";
const BATCHED: &str = "application/cloudevents-batch+json";
const PLAIN: &str = "application/json";
const PREFIX: &str = "ce-";
const ACCEPTS: Accepts = Accepts::new(&[STRUCTURED, BATCHED, PLAIN], "accept-post");

/// The form of the events in a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Structured,
    Batched,
    Binary,
    Plain,
}

/// The shape of a request. A single event stands for the whole request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    Single,
    List,
}

/// The bounds on the events of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventLimits {
    /// The most events in one request.
    pub(super) items: usize,
    /// The most bytes of an event as BSON.
    pub(super) event_bytes: usize,
}

/// A receiver of the events one by one, each with its problem if it has one. An error ends the reading.
pub(super) trait EventSink {
    fn push(&mut self, event: Result<NewEvent, Problem>) -> Result<(), Problem>;
}

impl Mode {
    /// Reads the mode from the headers. In binary mode any content type will do.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let media = body::media_type(headers)?;
        let essence = media.as_ref().map(Media::essence);
        let binary = headers.keys().any(|name| name.as_str().starts_with(PREFIX));
        if binary
            && !essence
                .as_deref()
                .is_some_and(|kind| kind.starts_with("application/cloudevents"))
        {
            body::refuse_coding(headers)?;
            return Ok(Self::Binary);
        }
        ACCEPTS.check(headers)?;
        Ok(match essence.as_deref() {
            Some(STRUCTURED) => Self::Structured,
            Some(BATCHED) => Self::Batched,
            _ => Self::Plain,
        })
    }

    /// Reads the events one by one, so that only one is in memory that the sink does not have.
    pub(super) fn read(
        self,
        headers: &HeaderMap,
        body: &[u8],
        limits: EventLimits,
        sink: &mut impl EventSink,
    ) -> Result<Shape, Problem> {
        if self == Self::Binary {
            sink.push(binary(headers, body, limits.event_bytes)?)?;
            return Ok(Shape::Single);
        }
        let form = match self {
            Self::Plain => EventForm::Plain,
            _ => EventForm::CloudEvent,
        };
        let is_list = without_mark(body).trim_ascii_start().first() == Some(&b'[');
        if is_list && self != Self::Structured {
            List::new(form, limits, sink).read(body)?;
            return Ok(Shape::List);
        }
        if self == Self::Batched {
            body::json(body, |json| IgnoredAny::deserialize(json))?;
            let fault = Fault::new("#", "must be an array of events");
            return Err(Problem::invalid(fault));
        }
        let event = body::json(body, |json| {
            NewEvent::from_json(json, form, JsonPointer::Text("#"), limits.event_bytes)
        })?;
        sink.push(event.map_err(|refusal| refused(refusal, limits.event_bytes)))?;
        Ok(Shape::Single)
    }
}

/// Returns the problem with an event in the body.
fn refused(refusal: EventRefusal, max_bytes: usize) -> Problem {
    match refusal {
        EventRefusal::Faulty(faults) => Problem::invalid(faults),
        EventRefusal::TooLarge => too_large(max_bytes),
    }
}

/// Returns the problem with an event that is too large.
pub(super) fn too_large(max_bytes: usize) -> Problem {
    let detail = format!("the event is larger than {max_bytes} bytes as BSON");
    Problem::new(Kind::TooLarge, detail)
}

/// Reads a list of events.
struct List<'t, T> {
    form: EventForm,
    limits: EventLimits,
    sink: &'t mut T,
    items: usize,
    /// The problem that ended the reading before the end of the body.
    stopped: Option<Problem>,
}

impl<'t, T: EventSink> List<'t, T> {
    fn new(form: EventForm, limits: EventLimits, sink: &'t mut T) -> Self {
        Self {
            form,
            limits,
            sink,
            items: 0,
            stopped: None,
        }
    }

    fn read(mut self, body: &[u8]) -> Result<(), Problem> {
        let read = body::json(body, |json| json.deserialize_seq(&mut self));
        self.stopped.map_or(read, Err)
    }

    fn stop<E: de::Error>(&mut self, problem: Problem) -> E {
        self.stopped = Some(problem);
        E::custom("stopped")
    }
}

impl<'de, T: EventSink> Visitor<'de> for &mut List<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(&mut *self)?.is_some() {}
        Ok(())
    }
}

impl<'de, T: EventSink> DeserializeSeed<'de> for &mut List<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        let EventLimits { items, event_bytes } = self.limits;
        if self.items == items {
            let detail = format!("has more than {items} events");
            return Err(self.stop(Problem::invalid(Fault::new("#", detail))));
        }
        let root = JsonPointer::Text("#");
        let at = JsonPointer::Index(&root, self.items);
        self.items += 1;
        let event = NewEvent::from_json(json, self.form, at, event_bytes)?;
        let event = event.map_err(|refusal| refused(refusal, event_bytes));
        match self.sink.push(event) {
            Ok(()) => Ok(()),
            Err(problem) => Err(self.stop(problem)),
        }
    }
}

/// Reads an event in binary mode. The outer error is for a request that cannot be read at all.
fn binary(
    headers: &HeaderMap,
    body: &[u8],
    max_bytes: usize,
) -> Result<Result<NewEvent, Problem>, Problem> {
    let mut attributes = Vec::new();
    for (name, value) in headers {
        if let Some(attribute) = name.as_str().strip_prefix(PREFIX) {
            let text = header_text(value.as_bytes())
                .map_err(|detail| Problem::header(Kind::BadHeader, name.as_str(), detail))?;
            attributes.push((attribute, text));
        }
    }
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let event =
        NewEvent::from_parts(attributes, kind, body, max_bytes).map_err(Problem::malformed_json)?;
    Ok(event.map_err(|refusal| match refusal {
        EventRefusal::Faulty(faults) => faulty_parts(faults),
        EventRefusal::TooLarge => too_large(max_bytes),
    }))
}

/// Returns the problem with an event in headers and body: faults of attributes are in headers, those of the data in the
/// body.
fn faulty_parts(faults: Faults) -> Problem {
    let detail = "the event in the headers and body must be corrected";
    let mut problem = Problem::new(Kind::InvalidRequest, detail);
    for fault in faults {
        match fault.pointer.strip_prefix('/') {
            Some("datacontenttype") => problem.blame_header("content-type", fault.detail),
            Some(name) => problem.blame_header(&format!("{PREFIX}{name}"), fault.detail),
            None => problem.blame_pointer(fault),
        }
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let header = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        pairs.iter().map(header).collect()
    }

    fn mode(pairs: &[(&'static str, &'static str)]) -> Result<Mode, Kind> {
        Mode::of(&headers(pairs)).map_err(|problem| problem.kind())
    }

    #[test]
    fn the_mode_follows_the_headers() {
        let kind = |kind| ("content-type", kind);
        let ce = ("ce-id", "1");
        for (pairs, expected) in [
            (
                &[kind("application/cloudevents+json; charset=utf-8")][..],
                Ok(Mode::Structured),
            ),
            (
                &[kind("application/cloudevents-batch+json")],
                Ok(Mode::Batched),
            ),
            (&[kind("application/json")], Ok(Mode::Plain)),
            (&[kind("application/json"), ce], Ok(Mode::Binary)),
            (&[kind("image/png"), ce], Ok(Mode::Binary)),
            (&[ce], Ok(Mode::Binary)),
            (
                &[kind("application/cloudevents+json"), ce],
                Ok(Mode::Structured),
            ),
            (
                &[kind("application/cloudevents+avro"), ce],
                Err(Kind::UnsupportedMediaType),
            ),
            (&[kind("text/plain")], Err(Kind::UnsupportedMediaType)),
            (&[], Err(Kind::UnsupportedMediaType)),
        ] {
            assert_eq!(mode(pairs), expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_list_is_judged_event_by_event() {
        let body = br#"[{"type":"a"},{"type":""},7]"#;
        let none = HeaderMap::new();
        let (shape, events) = read(Mode::Plain, &none, body, 3).unwrap();
        assert_eq!(shape, Shape::List);
        let good: Vec<_> = events.iter().map(Result::is_ok).collect();
        assert_eq!(good, [true, false, false]);
        let refused = |mode, body, most| read(mode, &none, body, most).unwrap_err().kind();
        assert_eq!(refused(Mode::Plain, body, 2), Kind::InvalidRequest);
        assert_eq!(refused(Mode::Batched, b"{}", 2), Kind::InvalidRequest);
        for (mode, body) in [
            (Mode::Structured, &b"{"[..]),
            (Mode::Batched, b"{"),
            (Mode::Plain, b"[{\"type\":\"t\"}"),
            (Mode::Plain, b"[{\"type\":\"t\"}] 1"),
        ] {
            assert_eq!(refused(mode, body, 2), Kind::MalformedJson);
        }
    }

    #[test]
    fn a_list_that_is_too_long_is_read_no_further() {
        let body = format!("[{}", "1,".repeat(1_000));
        let problem = read(Mode::Plain, &HeaderMap::new(), body.as_bytes(), 10).unwrap_err();
        assert_eq!(problem.kind(), Kind::InvalidRequest);
    }

    type Events = Vec<Result<NewEvent, Problem>>;

    impl EventSink for Events {
        fn push(&mut self, event: Result<NewEvent, Problem>) -> Result<(), Problem> {
            Vec::push(self, event);
            Ok(())
        }
    }

    fn read(
        mode: Mode,
        headers: &HeaderMap,
        body: &[u8],
        items: usize,
    ) -> Result<(Shape, Events), Problem> {
        let limits = EventLimits {
            items,
            event_bytes: 1 << 20,
        };
        let mut events = Events::new();
        let shape = mode.read(headers, body, limits, &mut events)?;
        Ok((shape, events))
    }

    #[test]
    fn binary_mode_decodes_headers_and_blames_them() {
        let good = headers(&[
            ("ce-specversion", "1.0"),
            ("ce-id", "%C3%A4"),
            ("ce-source", "/s"),
            ("ce-type", "t"),
            ("content-type", "application/json"),
        ]);
        let (shape, events) = read(Mode::Binary, &good, b"{}", 1).unwrap();
        assert!(shape == Shape::Single && events[0].is_ok());
        let problem = read(Mode::Binary, &good, b"{", 1).unwrap_err();
        assert_eq!(problem.kind(), Kind::MalformedJson);
        let bad = headers(&[
            ("ce-id", "1"),
            ("ce-ts", "1"),
            ("content-type", "application/json"),
        ]);
        let body = br#"{"id":{"$oid":"?"}}"#;
        let (_, mut events) = read(Mode::Binary, &bad, body, 1).unwrap();
        let problem = events.remove(0).unwrap_err().to_json();
        let errors = problem["errors"].as_array().unwrap().iter();
        let locations: Vec<_> = errors
            .map(|error| {
                error["header"]
                    .as_str()
                    .or(error["pointer"].as_str())
                    .unwrap()
            })
            .collect();
        assert_eq!(
            locations,
            ["ce-ts", "#/id", "ce-specversion", "ce-source", "ce-type"]
        );
        let bad = headers(&[("ce-id", "%FF")]);
        let problem = read(Mode::Binary, &bad, b"", 1).unwrap_err();
        assert_eq!(problem.kind(), Kind::BadHeader);
    }
}
