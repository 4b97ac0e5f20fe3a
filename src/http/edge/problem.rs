//! The answers to refused requests: RFC 9457 problem documents.

mod kind;

use std::{fmt::Display, time::Duration};

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use crate::extjson::{Fault, Faults, truncated};

pub(crate) use self::kind::Kind;

/// The media type of every refusal.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";
/// Seconds after which a client may try again if the service cannot serve it now.
const RETRY_AFTER_SECONDS: u32 = 1;

/// The part of a request that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Location {
    Pointer(String),
    Parameter(String),
    Header(String),
}

/// A refusal. It is an answer or a part of one.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    kind: Kind,
    detail: String,
    errors: Vec<(Location, String)>,
    /// True if there may be more errors than are listed.
    truncated: bool,
    extensions: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// Returns a problem with a detail for people.
    pub(crate) fn new(kind: Kind, detail: impl Display) -> Self {
        let retry =
            kind.status() == StatusCode::SERVICE_UNAVAILABLE || kind == Kind::IdempotencyKeyInUse;
        let after = HeaderValue::from(RETRY_AFTER_SECONDS);
        let headers = retry.then_some((header::RETRY_AFTER, after));
        Self(Box::new(Parts {
            kind,
            detail: truncated(detail),
            errors: Vec::new(),
            truncated: false,
            extensions: Map::new(),
            headers: headers.into_iter().collect(),
        }))
    }

    /// Returns the refusal of a body that was understood: every fault with its location.
    pub(crate) fn invalid(faults: impl Into<Faults>) -> Self {
        let faults = faults.into();
        let (many, full) = (faults.len(), faults.is_full());
        let detail = match faults.iter().next() {
            Some(one) if many == 1 => format!("{}: {}", one.pointer, one.detail),
            _ if full => format!("{many} fields or more must be corrected"),
            _ => format!("{many} fields must be corrected"),
        };
        let mut problem = Self::new(Kind::InvalidRequest, detail);
        problem.0.truncated = full;
        for fault in faults {
            problem.blame_pointer(fault);
        }
        problem
    }

    /// Returns the refusal of a request for a subscription that does not exist.
    pub(crate) fn no_subscription(id: &str) -> Self {
        Self::new(
            Kind::SubscriptionNotFound,
            format!("there is no subscription {id:?}"),
        )
    }

    /// Returns the refusal of a body that is not JSON.
    pub(crate) fn malformed_json(detail: impl Display) -> Self {
        Self::new(Kind::MalformedJson, detail)
    }

    /// Returns the refusal of a parameter in the query or the path.
    pub(crate) fn parameter(kind: Kind, name: &str, detail: impl Display) -> Self {
        Self::at(
            kind,
            Location::Parameter(truncated(name)),
            name,
            truncated(detail),
        )
    }

    /// Returns the refusal of a header.
    pub(crate) fn header(kind: Kind, name: &str, detail: impl Display) -> Self {
        Self::at(
            kind,
            Location::Header(truncated(name)),
            name,
            truncated(detail),
        )
    }

    fn at(kind: Kind, location: Location, name: &str, detail: String) -> Self {
        let mut problem = Self::new(kind, format!("{name}: {detail}"));
        problem.0.errors.push((location, detail));
        problem
    }

    /// Adds a fault in a query parameter.
    pub(crate) fn blame_parameter(&mut self, name: &str, detail: impl Display) {
        self.blame(Location::Parameter(truncated(name)), truncated(detail));
    }

    /// Adds a fault in the body.
    pub(crate) fn blame_pointer(&mut self, fault: Fault) {
        self.blame(Location::Pointer(fault.pointer), fault.detail);
    }

    /// Adds a fault in a header.
    pub(crate) fn blame_header(&mut self, name: &str, detail: impl Display) {
        self.blame(Location::Header(truncated(name)), truncated(detail));
    }

    fn blame(&mut self, location: Location, detail: String) {
        if self.0.errors.len() < Faults::MOST {
            self.0.errors.push((location, detail));
        } else {
            self.0.truncated = true;
        }
    }

    /// Returns the problem as one of many, whose errors share the bytes in `left`. If they are used up, its own errors
    /// are dropped.
    #[must_use]
    pub(crate) fn within(mut self, left: &mut usize) -> Self {
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

    /// Says when another try may succeed.
    #[must_use]
    pub(crate) fn retry_after(self, left: Duration) -> Self {
        let seconds = left.as_millis().div_ceil(1_000).max(1);
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Adds a header to the answer.
    #[must_use]
    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Returns the kind.
    pub(crate) fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Returns the HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        self.0.kind.status()
    }

    /// Returns the detail for people.
    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Returns the problem document.
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

fn error_bytes((location, detail): &(Location, String)) -> usize {
    /// The names of the members and the punctuation.
    const OVERHEAD_BYTES: usize = 32;
    let (Location::Pointer(text) | Location::Parameter(text) | Location::Header(text)) = location;
    text.len() + detail.len() + OVERHEAD_BYTES
}

fn error_json((location, detail): &(Location, String)) -> Value {
    match location {
        Location::Pointer(pointer) => json!({"pointer": pointer, "detail": detail}),
        Location::Parameter(name) => json!({"parameter": name, "detail": detail}),
        Location::Header(name) => json!({"header": name, "detail": detail}),
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
    fn a_problem_lists_a_hundred_errors_and_says_that_there_may_be_more() {
        for (count, listed, truncated) in [(99, 99, Value::Null), (1_000, 100, true.into())] {
            let mut problem = Problem::invalid(faults(count)).to_json();
            assert_eq!(problem["errors"].as_array().unwrap().len(), listed);
            assert_eq!(problem["truncated"].take(), truncated);
        }
        let mut problem = Problem::new(Kind::BadParameter, "x".repeat(10_000));
        for _ in 0..1_000 {
            problem.blame_parameter(&"n".repeat(10_000), "x".repeat(10_000));
        }
        assert!(problem.to_json().to_string().len() < 120_000);
    }

    #[test]
    fn many_problems_share_the_bytes_for_their_errors() {
        let mut left = 1_000;
        let texts: Vec<_> = (0..50)
            .map(|_| Problem::invalid(faults(9)).within(&mut left))
            .map(|problem| problem.to_json().to_string())
            .collect();
        assert!(texts[0].contains("#/8") && !texts[0].contains("truncated"));
        assert!(texts[49].contains("9 fields") && texts[49].contains(r#""truncated":true"#));
    }

    #[test]
    fn a_problem_names_each_location() {
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
                "detail": "2 fields must be corrected",
                "errors": [{"pointer": "#/a", "detail": "is wrong"},
                    {"pointer": "#/b", "detail": "as well"},
                    {"parameter": "limit", "detail": "is too large"}],
                "sources": ["/a"]})
        );
    }
}
