//! The table of problem types. `docs/problems.md` lists the same for users; a test holds the two together.

use axum::http::StatusCode;

/// The kind of a refusal: one row of the table in `docs/problems.md`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
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
    /// The request presents no credential where one is needed, or one that does not stand.
    Unauthenticated,
    /// The caller may not do this.
    Forbidden,
    /// The caller lacks a claim that its policy needs, or has no policy.
    PolicyUnsatisfied,
    /// The caller's tenant or key has as much of something as it may.
    QuotaExceeded,
    /// No call has this path.
    NotFound,
    /// No subscription with this id.
    SubscriptionNotFound,
    /// No key with this id.
    KeyNotFound,
    /// No policy with this name.
    PolicyNotFound,
    /// No revocation with this id.
    RevocationNotFound,
    /// No event with this id.
    EventNotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The body did not arrive in time.
    RequestTimeout,
    /// Another request has just created the same document.
    Conflict,
    /// Several events have this id, under different sources.
    AmbiguousEvent,
    /// The first request with this `Idempotency-Key` is still running.
    IdempotencyKeyInUse,
    /// The handle is in use on this socket.
    HandleInUse,
    /// The subscription's document cannot be used as it is stored.
    SubscriptionInvalid,
    /// The subscription exists, but the request asks about its delete.
    NotDeleted,
    /// `If-Match` or `If-None-Match` does not hold.
    PreconditionFailed,
    /// The body or one of its items is larger than allowed.
    TooLarge,
    /// The address is longer than allowed.
    UriTooLong,
    /// The body is of a media type, charset or coding that is not read here.
    UnsupportedMediaType,
    /// `Expect` asks for something other than `100-continue`.
    ExpectationFailed,
    /// The request names a host under which this node does not answer.
    Misdirected,
    /// Understood, but refused: fields are unknown or have unusable values.
    InvalidRequest,
    /// The document is no policy that can be used.
    PolicyInvalid,
    /// The `Idempotency-Key` was used before, with another request.
    IdempotencyKeyReused,
    /// The database refuses the document.
    RefusedByDatabase,
    /// The database found nothing in the time that a search may take.
    SearchTooSlow,
    /// The request asks for a socket but is no usable upgrade.
    UpgradeRequired,
    /// Requests of this kind come too fast.
    TooManyRequests,
    /// The request's head is larger than allowed.
    HeadersTooLarge,
    /// A fault of the service.
    InternalError,
    /// The database cannot be reached now.
    DatabaseUnavailable,
    /// The database denies this service a right that it needs.
    DatabaseForbids,
    /// Other clients keep changing the same document.
    Contended,
    /// This node cannot serve more now.
    Overloaded,
    /// This node is not ready to serve.
    NotReady,
}

impl Kind {
    /// Every kind.
    pub(crate) const ALL: [Self; 43] = [
        Self::MalformedRequest,
        Self::MalformedJson,
        Self::BadParameter,
        Self::BadHeader,
        Self::BadCursor,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::PolicyUnsatisfied,
        Self::QuotaExceeded,
        Self::NotFound,
        Self::SubscriptionNotFound,
        Self::KeyNotFound,
        Self::PolicyNotFound,
        Self::RevocationNotFound,
        Self::EventNotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::Conflict,
        Self::AmbiguousEvent,
        Self::IdempotencyKeyInUse,
        Self::HandleInUse,
        Self::SubscriptionInvalid,
        Self::NotDeleted,
        Self::PreconditionFailed,
        Self::TooLarge,
        Self::UriTooLong,
        Self::UnsupportedMediaType,
        Self::ExpectationFailed,
        Self::Misdirected,
        Self::InvalidRequest,
        Self::PolicyInvalid,
        Self::IdempotencyKeyReused,
        Self::RefusedByDatabase,
        Self::SearchTooSlow,
        Self::UpgradeRequired,
        Self::TooManyRequests,
        Self::HeadersTooLarge,
        Self::InternalError,
        Self::DatabaseUnavailable,
        Self::DatabaseForbids,
        Self::Contended,
        Self::Overloaded,
        Self::NotReady,
    ];

    /// Returns status, slug and title: the whole table in one place.
    const fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::MalformedRequest => (400, "malformed-request", "The request cannot be read"),
            Self::MalformedJson => (400, "malformed-json", "The body is not JSON"),
            Self::BadParameter => (400, "bad-parameter", "A query parameter cannot be used"),
            Self::BadHeader => (400, "bad-header", "A header cannot be read"),
            Self::BadCursor => (400, "bad-cursor", "The cursor was not issued here"),
            Self::Unauthenticated => (401, "unauthenticated", "A valid credential is needed"),
            Self::Forbidden => (403, "forbidden", "This is not allowed"),
            Self::PolicyUnsatisfied => (
                403,
                "policy-unsatisfied",
                "The credential does not have what its policy needs",
            ),
            Self::QuotaExceeded => (403, "quota-exceeded", "There are as many as there may be"),
            Self::NotFound => (404, "not-found", "There is nothing at this path"),
            Self::SubscriptionNotFound => (
                404,
                "subscription-not-found",
                "There is no such subscription",
            ),
            Self::KeyNotFound => (404, "key-not-found", "There is no such key"),
            Self::PolicyNotFound => (404, "policy-not-found", "There is no such policy"),
            Self::RevocationNotFound => {
                (404, "revocation-not-found", "There is no such revocation")
            }
            Self::EventNotFound => (404, "event-not-found", "There is no such event"),
            Self::MethodNotAllowed => (
                405,
                "method-not-allowed",
                "This path does not take this method",
            ),
            Self::RequestTimeout => (408, "request-timeout", "The body did not arrive in time"),
            Self::Conflict => (409, "conflict", "Another request created the same document"),
            Self::AmbiguousEvent => (409, "ambiguous-event", "Several events have this id"),
            Self::IdempotencyKeyInUse => (
                409,
                "idempotency-key-in-use",
                "The first request is still running",
            ),
            Self::HandleInUse => (409, "handle-in-use", "The handle is in use"),
            Self::SubscriptionInvalid => {
                (409, "subscription-invalid", "The subscription is invalid")
            }
            Self::NotDeleted => (409, "not-deleted", "This is not deleted"),
            Self::PreconditionFailed => {
                (412, "precondition-failed", "A precondition does not hold")
            }
            Self::TooLarge => (413, "too-large", "The content is too large"),
            Self::UriTooLong => (414, "uri-too-long", "The address is too long"),
            Self::UnsupportedMediaType => (
                415,
                "unsupported-media-type",
                "This media type is not read here",
            ),
            Self::ExpectationFailed => (417, "expectation-failed", "The expectation cannot be met"),
            Self::Misdirected => (
                421,
                "misdirected",
                "This node does not answer under this name",
            ),
            Self::InvalidRequest => (
                422,
                "invalid-request",
                "The request was understood but refused",
            ),
            Self::PolicyInvalid => (422, "policy-invalid", "The policy cannot be used"),
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
            Self::SearchTooSlow => (422, "search-too-slow", "The search takes too long"),
            Self::UpgradeRequired => (426, "upgrade-required", "This path needs an upgrade"),
            Self::TooManyRequests => (429, "too-many-requests", "Requests come too fast"),
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
            Self::Contended => (
                503,
                "contended",
                "Other requests keep changing the same document",
            ),
            Self::Overloaded => (503, "overloaded", "This node cannot serve more now"),
            Self::NotReady => (503, "not-ready", "This node is not ready"),
        }
    }

    /// Returns the HTTP status.
    pub(crate) fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Returns the last part of `type`.
    pub(crate) const fn slug(self) -> &'static str {
        self.row().1
    }

    /// Returns the title that all problems of this kind share.
    pub(crate) const fn title(self) -> &'static str {
        self.row().2
    }

    /// Returns the most general kind with this status, for refusals that a library worded.
    pub(crate) fn of_status(status: StatusCode) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_list_and_the_table_agree() {
        let documented: Vec<_> = include_str!("../../../../docs/problems.md")
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
