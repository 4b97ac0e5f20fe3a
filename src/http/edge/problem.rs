//! What is answered when a request is refused: RFC 9457 problem documents.

mod kind;

use std::fmt::Display;

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use crate::extjson::{Fault, Faults, told};

pub(crate) use self::kind::Kind;

/// The media type of every refusal.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";
/// Seconds after which a client may try again when the service cannot serve it now.
const RETRY_AFTER_SECONDS: u32 = 1;

/// Where in a request something is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Place {
    Pointer(String),
    Parameter(String),
    Header(String),
}

/// A refusal, ready to be answered or to stand inside an answer.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    kind: Kind,
    detail: String,
    errors: Vec<(Place, String)>,
    /// Whether there may be more errors than are told.
    truncated: bool,
    extensions: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem with words for people.
    pub(crate) fn new(kind: Kind, detail: impl Display) -> Self {
        let retry =
            kind.status() == StatusCode::SERVICE_UNAVAILABLE || kind == Kind::IdempotencyKeyInUse;
        let after = HeaderValue::from(RETRY_AFTER_SECONDS);
        let headers = retry.then_some((header::RETRY_AFTER, after));
        Self(Box::new(Parts {
            kind,
            detail: told(detail),
            errors: Vec::new(),
            truncated: false,
            extensions: Map::new(),
            headers: headers.into_iter().collect(),
        }))
    }

    /// Understood but refused: every fault with its place in the body.
    pub(crate) fn invalid(faults: impl Into<Faults>) -> Self {
        let faults = faults.into();
        let (many, full) = (faults.len(), faults.is_full());
        let detail = match faults.iter().next() {
            Some(one) if many == 1 => format!("{}: {}", one.pointer, one.detail),
            _ if full => format!("{many} fields or more have to be corrected"),
            _ => format!("{many} fields have to be corrected"),
        };
        let mut problem = Self::new(Kind::InvalidRequest, detail);
        problem.0.truncated = full;
        for fault in faults {
            problem.blame_pointer(fault);
        }
        problem
    }

    /// The body is not JSON.
    pub(crate) fn malformed_json(detail: impl Display) -> Self {
        Self::new(Kind::MalformedJson, detail)
    }

    /// A query parameter, or one in the path, is unknown or unusable.
    pub(crate) fn parameter(kind: Kind, name: &str, detail: impl Display) -> Self {
        Self::at(kind, Place::Parameter(told(name)), name, told(detail))
    }

    /// A header cannot be read or used.
    pub(crate) fn header(kind: Kind, name: &str, detail: impl Display) -> Self {
        Self::at(kind, Place::Header(told(name)), name, told(detail))
    }

    fn at(kind: Kind, place: Place, name: &str, detail: String) -> Self {
        let mut problem = Self::new(kind, format!("{name}: {detail}"));
        problem.0.errors.push((place, detail));
        problem
    }

    /// Adds a faulty query parameter.
    pub(crate) fn blame_parameter(&mut self, name: &str, detail: impl Display) {
        self.blame(Place::Parameter(told(name)), told(detail));
    }

    /// Adds a place in the body.
    pub(crate) fn blame_pointer(&mut self, fault: Fault) {
        self.blame(Place::Pointer(fault.pointer), fault.detail);
    }

    /// Adds a faulty header.
    pub(crate) fn blame_header(&mut self, name: &str, detail: impl Display) {
        self.blame(Place::Header(told(name)), told(detail));
    }

    fn blame(&mut self, place: Place, detail: String) {
        if self.0.errors.len() < Faults::MOST {
            self.0.errors.push((place, detail));
        } else {
            self.0.truncated = true;
        }
    }

    /// The problem as it stands among many, whose errors have so many bytes `left` together: where they
    /// are used up, without its own.
    #[must_use]
    pub(crate) fn among(mut self, left: &mut usize) -> Self {
        let bytes = self.0.errors.iter().map(error_bytes).sum();
        if let Some(rest) = left.checked_sub(bytes) {
            *left = rest;
        } else {
            self.0.errors = Vec::new();
            self.0.truncated = true;
        }
        self
    }

    /// Adds an extension member to the document.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: Value) -> Self {
        self.0.extensions.insert(name.to_owned(), value);
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    #[cfg(test)]
    pub(crate) fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        self.0.kind.status()
    }

    /// The words for people.
    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The problem document.
    pub(crate) fn to_json(&self) -> Value {
        let mut document = json!({
            "type": format!("/problems/{}", self.0.kind.slug()),
            "title": self.0.kind.title(),
            "status": self.status().as_u16(),
            "detail": self.0.detail,
        });
        if !self.0.errors.is_empty() {
            document["errors"] = self.0.errors.iter().map(error_json).collect();
        }
        if self.0.truncated {
            document["truncated"] = true.into();
        }
        for (name, value) in &self.0.extensions {
            document[name.as_str()] = value.clone();
        }
        document
    }
}

fn error_bytes((place, detail): &(Place, String)) -> usize {
    /// The names of the members, and what stands around them.
    const AROUND: usize = 32;
    let (Place::Pointer(text) | Place::Parameter(text) | Place::Header(text)) = place;
    text.len() + detail.len() + AROUND
}

fn error_json((place, detail): &(Place, String)) -> Value {
    match place {
        Place::Pointer(pointer) => json!({"pointer": pointer, "detail": detail}),
        Place::Parameter(name) => json!({"parameter": name, "detail": detail}),
        Place::Header(name) => json!({"header": name, "detail": detail}),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json().to_string()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.extend(self.0.headers.clone());
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(count: usize) -> Faults {
        let mut faults = Faults::default();
        for index in 0..count {
            faults.blame(format_args!("#/{index}"), "no");
        }
        faults
    }

    #[test]
    fn a_problem_tells_a_hundred_errors_and_that_there_may_be_more() {
        for (count, told, truncated) in [(99, 99, Value::Null), (1_000, 100, true.into())] {
            let mut problem = Problem::invalid(faults(count)).to_json();
            assert_eq!(problem["errors"].as_array().unwrap().len(), told);
            assert_eq!(problem["truncated"].take(), truncated);
        }
        let mut problem = Problem::new(Kind::BadParameter, "x".repeat(10_000));
        for _ in 0..1_000 {
            problem.blame_parameter(&"n".repeat(10_000), "x".repeat(10_000));
        }
        assert!(problem.to_json().to_string().len() < 120_000);
    }

    #[test]
    fn many_problems_share_what_their_errors_may_take() {
        let mut left = 1_000;
        let texts: Vec<_> = (0..50)
            .map(|_| Problem::invalid(faults(9)).among(&mut left))
            .map(|problem| problem.to_json().to_string())
            .collect();
        assert!(texts[0].contains("#/8") && !texts[0].contains("truncated"));
        assert!(texts[49].contains("9 fields") && texts[49].contains(r#""truncated":true"#));
    }

    #[test]
    fn a_problem_names_each_place() {
        let mut two = Faults::default();
        two.blame("#/a", "is wrong");
        two.blame("#/b", "as well");
        let mut problem = Problem::invalid(two);
        problem.blame_parameter("limit", "is too large");
        let header = Problem::header(Kind::BadHeader, "If-Match", "is no list");
        assert_eq!(
            header.to_json()["errors"],
            json!([{"header": "If-Match", "detail": "is no list"}])
        );
        assert_eq!(
            problem.with("sources", json!(["/a"])).to_json(),
            json!({"type": "/problems/invalid-request", "status": 422,
                "title": "The request was understood but refused",
                "detail": "2 fields have to be corrected",
                "errors": [{"pointer": "#/a", "detail": "is wrong"},
                    {"pointer": "#/b", "detail": "as well"},
                    {"parameter": "limit", "detail": "is too large"}],
                "sources": ["/a"]})
        );
    }
}
