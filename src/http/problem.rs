//! What is answered when a request is refused: RFC 9457 problem documents, and the one table of
//! their types. `docs/problems.md` lists the same table for users; a test holds the two together.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use crate::extjson::Fault;

/// The media type of every refusal.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// Seconds after which a client may try again when the service cannot serve it now.
const RETRY_AFTER_SECONDS: u32 = 1;

/// What kind of refusal it is: one row of the table in `docs/problems.md`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The request cannot be read as HTTP: a broken path, for example.
    MalformedRequest,
    /// The body is not JSON.
    MalformedJson,
    /// A query parameter is unknown or unusable.
    BadParameter,
    /// A header cannot be read.
    BadHeader,
    /// A page's or a stream's cursor was not issued here.
    BadCursor,
    /// The caller may not do this.
    Forbidden,
    /// No such path.
    NotFound,
    /// No subscription with this id.
    SubscriptionNotFound,
    /// No event with this id.
    EventNotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The body did not arrive in time.
    RequestTimeout,
    /// Others kept changing the same document.
    Conflict,
    /// Several events have this id, under different sources.
    AmbiguousEvent,
    /// The first request with this `Idempotency-Key` is still running.
    IdempotencyKeyInUse,
    /// `If-Match` or `If-None-Match` does not hold.
    PreconditionFailed,
    /// The body or an item of it is larger than allowed.
    TooLarge,
    /// The address is longer than allowed.
    UriTooLong,
    /// The body is of a media type, charset or coding that is not read here.
    UnsupportedMediaType,
    /// `Expect` asks for something other than `100-continue`.
    ExpectationFailed,
    /// Understood, but refused: fields are unknown or have unusable values.
    InvalidRequest,
    /// The `Idempotency-Key` was used before, with another request.
    IdempotencyKeyReused,
    /// The database refuses the document.
    RefusedByDatabase,
    /// The path is a socket's and the request is no usable upgrade.
    UpgradeRequired,
    /// The request's head is larger than allowed.
    HeadersTooLarge,
    /// A fault of the service.
    InternalError,
    /// The database cannot be reached now.
    DatabaseUnavailable,
    /// The database does not let this service do what it must.
    DatabaseForbids,
    /// This node serves no more now.
    Overloaded,
    /// This node is not ready to serve.
    NotReady,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Self; 29] = [
        Self::MalformedRequest,
        Self::MalformedJson,
        Self::BadParameter,
        Self::BadHeader,
        Self::BadCursor,
        Self::Forbidden,
        Self::NotFound,
        Self::SubscriptionNotFound,
        Self::EventNotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::Conflict,
        Self::AmbiguousEvent,
        Self::IdempotencyKeyInUse,
        Self::PreconditionFailed,
        Self::TooLarge,
        Self::UriTooLong,
        Self::UnsupportedMediaType,
        Self::ExpectationFailed,
        Self::InvalidRequest,
        Self::IdempotencyKeyReused,
        Self::RefusedByDatabase,
        Self::UpgradeRequired,
        Self::HeadersTooLarge,
        Self::InternalError,
        Self::DatabaseUnavailable,
        Self::DatabaseForbids,
        Self::Overloaded,
        Self::NotReady,
    ];

    /// Status, slug and title: the whole table in one place.
    const fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::MalformedRequest => (400, "malformed-request", "The request cannot be read"),
            Self::MalformedJson => (400, "malformed-json", "The body is not JSON"),
            Self::BadParameter => (400, "bad-parameter", "A query parameter cannot be used"),
            Self::BadHeader => (400, "bad-header", "A header cannot be read"),
            Self::BadCursor => (400, "bad-cursor", "The cursor was not issued here"),
            Self::Forbidden => (403, "forbidden", "This is not allowed"),
            Self::NotFound => (404, "not-found", "There is nothing at this path"),
            Self::SubscriptionNotFound => (
                404,
                "subscription-not-found",
                "There is no such subscription",
            ),
            Self::EventNotFound => (404, "event-not-found", "There is no such event"),
            Self::MethodNotAllowed => (
                405,
                "method-not-allowed",
                "This path does not take this method",
            ),
            Self::RequestTimeout => (408, "request-timeout", "The body did not arrive in time"),
            Self::Conflict => (409, "conflict", "Others changed the same document"),
            Self::AmbiguousEvent => (409, "ambiguous-event", "Several events have this id"),
            Self::IdempotencyKeyInUse => (
                409,
                "idempotency-key-in-use",
                "The first request is still running",
            ),
            Self::PreconditionFailed => {
                (412, "precondition-failed", "A precondition does not hold")
            }
            Self::TooLarge => (413, "too-large", "The content is too large"),
            Self::UriTooLong => (414, "uri-too-long", "The address is too long"),
            Self::UnsupportedMediaType => (
                415,
                "unsupported-media-type",
                "This type of content is not read here",
            ),
            Self::ExpectationFailed => (417, "expectation-failed", "The expectation cannot be met"),
            Self::InvalidRequest => (
                422,
                "invalid-request",
                "The request was understood but refused",
            ),
            Self::IdempotencyKeyReused => (
                422,
                "idempotency-key-reused",
                "The key belongs to another request",
            ),
            Self::RefusedByDatabase => (
                422,
                "refused-by-database",
                "The database refuses the document",
            ),
            Self::UpgradeRequired => (426, "upgrade-required", "This path wants an upgrade"),
            Self::HeadersTooLarge => (431, "headers-too-large", "The request's head is too large"),
            Self::InternalError => (500, "internal-error", "The service failed"),
            Self::DatabaseUnavailable => (
                503,
                "database-unavailable",
                "The database cannot be reached",
            ),
            Self::DatabaseForbids => (
                503,
                "database-forbids",
                "The database refuses the service a right it needs",
            ),
            Self::Overloaded => (503, "overloaded", "This node serves no more now"),
            Self::NotReady => (503, "not-ready", "This node is not ready"),
        }
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The last part of `type`.
    pub const fn slug(self) -> &'static str {
        self.row().1
    }

    /// The same words for every problem of this kind.
    pub const fn title(self) -> &'static str {
        self.row().2
    }

    /// The most general kind with this status, for refusals that others worded.
    pub fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            404 => Self::NotFound,
            500..=599 if status != StatusCode::SERVICE_UNAVAILABLE => Self::InternalError,
            503 => Self::NotReady,
            code => Self::ALL
                .into_iter()
                .find(|kind| kind.row().0 == code)
                .unwrap_or(Self::MalformedRequest),
        }
    }
}

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
    fn the_documented_list_and_the_table_agree() {
        let documented: Vec<_> = include_str!("../../docs/problems.md")
            .lines()
            .filter_map(|line| line.strip_prefix("| `/problems/"))
            .map(|row| {
                let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`'));
                let mut cell = || cells.next().unwrap_or_default().to_owned();
                (cell(), cell(), cell())
            })
            .collect();
        let coded: Vec<_> = Kind::ALL
            .iter()
            .map(|kind| kind.row())
            .map(|(status, slug, title)| (slug.to_owned(), status.to_string(), title.to_owned()))
            .collect();
        assert_eq!(documented, coded);
    }

    #[test]
    fn slugs_are_unique() {
        for kind in Kind::ALL {
            let same = Kind::ALL.iter().filter(|k| k.slug() == kind.slug());
            assert_eq!(same.count(), 1, "{kind:?}");
        }
    }

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

    #[test]
    fn foreign_statuses_find_their_kind() {
        for (status, kind) in [
            (400, Kind::MalformedRequest),
            (404, Kind::NotFound),
            (405, Kind::MethodNotAllowed),
            (418, Kind::MalformedRequest),
            (502, Kind::InternalError),
            (503, Kind::NotReady),
        ] {
            assert_eq!(Kind::of_status(StatusCode::from_u16(status).unwrap()), kind);
        }
    }
}
