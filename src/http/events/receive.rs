//! The forms in which events arrive: CloudEvents structured, batched and in binary mode, and plain
//! objects (CloudEvents HTTP protocol binding 1.0.2, section 3).

use axum::http::{HeaderMap, header};
use serde_json::Value;

use crate::{
    event::input::{Content, Form, NewEvent, header_text},
    extjson::{At, Fault},
    http::{
        body::{self, Accepts},
        problem::{Kind, Problem},
    },
};

const STRUCTURED: &str = "application/cloudevents+json";
const BATCHED: &str = "application/cloudevents-batch+json";
const PLAIN: &str = "application/json";
const PREFIX: &str = "ce-";
const ACCEPTS: Accepts = Accepts::new(&[STRUCTURED, BATCHED, PLAIN], "accept-post");

/// How the events of a request are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Structured,
    Batched,
    Binary,
    Plain,
}

/// What a request holds.
#[derive(Debug)]
pub(super) struct Received {
    /// Each event, or what is wrong with it.
    pub(super) events: Vec<Result<NewEvent, Problem>>,
    /// Whether it is a single one, which then stands for the request.
    pub(super) single: bool,
}

impl Mode {
    /// Tells the mode from the headers. Any content type will do where attributes are headers.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let media = body::media_type(headers)?;
        let essence = media.as_ref().map(mime::Mime::essence_str);
        let binary = headers.keys().any(|name| name.as_str().starts_with(PREFIX));
        if binary && !essence.is_some_and(|kind| kind.starts_with("application/cloudevents")) {
            body::plain_coding(headers)?;
            return Ok(Self::Binary);
        }
        ACCEPTS.check(headers)?;
        Ok(match essence {
            Some(STRUCTURED) => Self::Structured,
            Some(BATCHED) => Self::Batched,
            _ => Self::Plain,
        })
    }

    /// Reads the events; at most `most` in one request.
    pub(super) fn read(
        self,
        headers: &HeaderMap,
        body: &[u8],
        most: usize,
    ) -> Result<Received, Problem> {
        if self == Self::Binary {
            return binary(headers, body).map(Received::one);
        }
        let form = match self {
            Self::Plain => Form::Plain,
            _ => Form::CloudEvent,
        };
        match (self, body::json(body)?) {
            (Self::Batched | Self::Plain, Value::Array(items)) => many(items, form, most),
            (Self::Batched, _) => Err(Problem::invalid(vec![Fault::new(
                "#",
                "must be an array of events",
            )])),
            (_, value) => Ok(Received::one(
                NewEvent::from_json(value, form, At::Pointer("#")).map_err(Problem::invalid),
            )),
        }
    }
}

impl Received {
    fn one(event: Result<NewEvent, Problem>) -> Self {
        Self {
            events: vec![event],
            single: true,
        }
    }
}

fn many(items: Vec<Value>, form: Form, most: usize) -> Result<Received, Problem> {
    if items.len() > most {
        let detail = format!("has {} events; at most {most} are allowed", items.len());
        return Err(Problem::invalid(vec![Fault::new("#", detail)]));
    }
    let read = |(index, item)| {
        let at = At::Index(&At::Pointer("#"), index);
        NewEvent::from_json(item, form, at).map_err(Problem::invalid)
    };
    Ok(Received {
        events: items.into_iter().enumerate().map(read).collect(),
        single: false,
    })
}

/// Binary mode. The outer error is a request that cannot be read at all.
fn binary(headers: &HeaderMap, body: &[u8]) -> Result<Result<NewEvent, Problem>, Problem> {
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
    let content = Content::read(kind, body).map_err(Problem::malformed_json)?;
    Ok(NewEvent::from_parts(attributes, kind, content).map_err(of_parts))
}

/// Faults of attributes stand in headers, those of the data in the body.
fn of_parts(faults: Vec<Fault>) -> Problem {
    let detail = "the event in headers and body has to be corrected";
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
        let received = Mode::Plain.read(&HeaderMap::new(), body, 3).unwrap();
        assert!(!received.single);
        let good: Vec<_> = received.events.iter().map(Result::is_ok).collect();
        assert_eq!(good, [true, false, false]);
        assert!(Mode::Plain.read(&HeaderMap::new(), body, 2).is_err());
        assert!(Mode::Batched.read(&HeaderMap::new(), b"{}", 2).is_err());
        let problem = Mode::Structured
            .read(&HeaderMap::new(), b"{", 2)
            .unwrap_err();
        assert_eq!(problem.kind(), Kind::MalformedJson);
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
        let received = Mode::Binary.read(&good, b"{}", 1).unwrap();
        assert!(received.single && received.events[0].is_ok());
        let problem = Mode::Binary.read(&good, b"{", 1).unwrap_err();
        assert_eq!(problem.kind(), Kind::MalformedJson);
        let bad = headers(&[
            ("ce-id", "1"),
            ("ce-ts", "1"),
            ("content-type", "application/json"),
        ]);
        let body = br#"{"id":{"$oid":"?"}}"#;
        let mut received = Mode::Binary.read(&bad, body, 1).unwrap();
        let problem = received.events.remove(0).unwrap_err().to_json();
        let errors = problem["errors"].as_array().unwrap().iter();
        let places: Vec<_> = errors
            .map(|error| {
                error["header"]
                    .as_str()
                    .or(error["pointer"].as_str())
                    .unwrap()
            })
            .collect();
        assert_eq!(
            places,
            ["ce-ts", "#/id", "ce-specversion", "ce-source", "ce-type"]
        );
        let bad = headers(&[("ce-id", "%FF")]);
        let problem = Mode::Binary.read(&bad, b"", 1).unwrap_err();
        assert_eq!(problem.kind(), Kind::BadHeader);
    }
}
