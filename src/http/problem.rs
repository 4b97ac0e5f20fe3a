//! What is answered when a request is refused: RFC 9457 problem documents.

mod kind;

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use crate::extjson::Fault;

pub use self::kind::Kind;

/// The media type of every refusal.
pub const PROBLEM_JSON: &str = "application/problem+json";
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
pub struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    kind: Kind,
    detail: String,
    errors: Vec<(Place, String)>,
    extensions: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem with words for people.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let retry =
            kind.status() == StatusCode::SERVICE_UNAVAILABLE || kind == Kind::IdempotencyKeyInUse;
        let after = HeaderValue::from(RETRY_AFTER_SECONDS);
        let headers = retry.then_some((header::RETRY_AFTER, after));
        Self(Box::new(Parts {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            extensions: Map::new(),
            headers: headers.into_iter().collect(),
        }))
    }

    /// Understood but refused: every fault with its place in the body.
    pub fn invalid(faults: Vec<Fault>) -> Self {
        let detail = match faults.as_slice() {
            [one] => format!("{}: {}", one.pointer, one.detail),
            many => format!("{} fields have to be corrected", many.len()),
        };
        let mut problem = Self::new(Kind::InvalidRequest, detail);
        for fault in faults {
            problem.blame_pointer(fault);
        }
        problem
    }

    /// The body is not JSON.
    pub fn malformed_json(detail: impl Into<String>) -> Self {
        Self::new(Kind::MalformedJson, detail)
    }

    /// A query parameter, or one in the path, is unknown or unusable.
    pub fn parameter(kind: Kind, name: &str, detail: impl Into<String>) -> Self {
        Self::at(kind, Place::Parameter(name.to_owned()), name, detail.into())
    }

    /// A header cannot be read or used.
    pub fn header(kind: Kind, name: &str, detail: impl Into<String>) -> Self {
        Self::at(kind, Place::Header(name.to_owned()), name, detail.into())
    }

    fn at(kind: Kind, place: Place, name: &str, detail: String) -> Self {
        let mut problem = Self::new(kind, format!("{name}: {detail}"));
        problem.0.errors.push((place, detail));
        problem
    }

    /// Adds a faulty query parameter.
    pub fn blame_parameter(&mut self, name: &str, detail: impl Into<String>) {
        let place = Place::Parameter(name.to_owned());
        self.0.errors.push((place, detail.into()));
    }

    /// Adds a place in the body.
    pub fn blame_pointer(&mut self, fault: Fault) {
        let place = Place::Pointer(fault.pointer);
        self.0.errors.push((place, fault.detail));
    }

    /// Adds a faulty header.
    pub fn blame_header(&mut self, name: &str, detail: impl Into<String>) {
        let place = Place::Header(name.to_owned());
        self.0.errors.push((place, detail.into()));
    }

    /// Adds an extension member to the document.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.0.extensions.insert(name.to_owned(), value);
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.0.kind.status()
    }

    /// The problem document.
    pub fn to_json(&self) -> Value {
        let mut document = json!({
            "type": format!("/problems/{}", self.0.kind.slug()),
            "title": self.0.kind.title(),
            "status": self.status().as_u16(),
            "detail": self.0.detail,
        });
        if !self.0.errors.is_empty() {
            document["errors"] = self.0.errors.iter().map(error_json).collect();
        }
        for (name, value) in &self.0.extensions {
            document[name.as_str()] = value.clone();
        }
        document
    }
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
        headers.extend(self.0.headers);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_each_place() {
        let mut problem = Problem::invalid(vec![
            Fault::new("#/a", "is wrong"),
            Fault::new("#/b", "as well"),
        ]);
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
