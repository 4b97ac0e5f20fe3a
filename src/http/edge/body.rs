//! Request bodies: of the right type, not too large, there in time, and not too many at once.

use std::time::Duration;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, header},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use serde_json::de::SliceRead;

use super::{
    budget::{Budget, Share},
    problem::{Kind, Problem},
    query::Query,
    state::AppState,
    unauthenticated::refused,
};
use crate::{access::Caller, event::media::Media, extjson::parse_with, router::SharedCredentials};

/// Bytes beyond the limit that are read and discarded, so that a client that is still sending gets the answer rather
/// than a broken connection.
const DISCARDED_BYTES: usize = 8 << 20;

/// The media types that a call reads, and the header that lists them in a refusal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepts {
    types: &'static [&'static str],
    header: &'static str,
}

/// JSON in a `POST`.
pub(crate) const POSTED_JSON: Accepts = Accepts::new(&["application/json"], "accept-post");
pub(crate) const PUT_JSON: Accepts = Accepts::new(&["application/json"], "accept");
/// A merge patch (RFC 7396), also under the media type of JSON.
pub(crate) const MERGE_PATCH: Accepts = Accepts::new(
    &["application/merge-patch+json", "application/json"],
    "accept-patch",
);

impl Accepts {
    /// Accepts these types. `header` is in lower case.
    pub(crate) const fn new(types: &'static [&'static str], header: &'static str) -> Self {
        Self { types, header }
    }

    /// Checks that the body is of one of the types, in UTF-8 and not compressed.
    pub(crate) fn check(self, headers: &HeaderMap) -> Result<(), Problem> {
        refuse_coding(headers)?;
        let Some(media) = media_type(headers)? else {
            return Err(self.refuse("the request has no Content-Type"));
        };
        let essence = media.essence();
        if !self.types.contains(&&*essence) {
            return Err(self.refuse(&format!("{essence} is not supported here")));
        }
        match media.charset() {
            Some(charset) if !charset.eq_ignore_ascii_case("utf-8") => Err(self.refuse(&format!(
                "the charset {charset} is not supported; use UTF-8"
            ))),
            _ => Ok(()),
        }
    }

    /// Returns a refusal that lists the types.
    pub(crate) fn refuse(self, detail: &str) -> Problem {
        let listed = self.types.join(", ");
        let problem = Problem::new(
            Kind::UnsupportedMediaType,
            format!("{detail}; this call reads {listed}"),
        );
        match HeaderValue::from_str(&listed) {
            Ok(value) => problem.with_header(HeaderName::from_static(self.header), value),
            Err(_) => problem,
        }
    }
}

/// Returns the request's `Content-Type`.
pub(crate) fn media_type(headers: &HeaderMap) -> Result<Option<Media>, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(None);
    };
    let media = value.to_str().ok().and_then(Media::parse);
    media
        .map(Some)
        .ok_or_else(|| Problem::header(Kind::BadHeader, "Content-Type", "is not a media type"))
}

/// Refuses bodies in a content coding, on however many lines it is written.
pub(crate) fn refuse_coding(headers: &HeaderMap) -> Result<(), Problem> {
    let mut codings = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .flat_map(|line| {
            let codings = line.as_bytes().split(|byte| *byte == b',');
            codings.map(<[u8]>::trim_ascii)
        });
    if codings.all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")) {
        return Ok(());
    }
    let problem = Problem::new(
        Kind::UnsupportedMediaType,
        "compressed bodies are not supported; send the body uncompressed",
    );
    Err(problem.with_header(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    ))
}

/// A complete body with its share of the budget.
#[derive(Debug)]
pub(crate) struct ReceivedBody {
    pub(crate) bytes: Bytes,
    /// As many bytes as the body has. The size of what is made of it is added.
    pub(crate) share: Share,
}

/// A reader of the body that a caller sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyReader<'a> {
    bounds: Bounds<'a>,
    credentials: &'a SharedCredentials,
    caller: &'a Caller,
}

impl<'a> BodyReader<'a> {
    /// Returns a reader of bodies of at most `max_bytes` that this caller sends.
    pub(crate) fn new(state: &'a AppState, caller: &'a Caller, max_bytes: usize) -> Self {
        Self {
            bounds: Bounds {
                max_bytes,
                timeout: state.limits().body_timeout,
                budget: &state.bounds.bodies,
                tenant: caller.tenant.as_deref(),
            },
            credentials: state.router().credentials(),
            caller,
        }
    }

    /// Reads the whole body. It may take its time, so the caller is judged once more at its end.
    pub(crate) async fn read(
        self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<ReceivedBody, Problem> {
        let read = self.bounds.read(headers, body).await;
        self.credentials.judge(self.caller).map_err(refused)?;
        read
    }
}

/// The bounds of a body.
#[derive(Clone, Copy, Debug)]
struct Bounds<'a> {
    max_bytes: usize,
    timeout: Duration,
    budget: &'a Budget,
    tenant: Option<&'a str>,
}

impl Bounds<'_> {
    async fn read(self, headers: &HeaderMap, body: Body) -> Result<ReceivedBody, Problem> {
        let client_waits = headers.contains_key(header::EXPECT);
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        let refused_at = if client_waits {
            self.max_bytes
        } else {
            self.max_bytes.saturating_add(DISCARDED_BYTES)
        };
        if announced.is_some_and(|length| length > refused_at) {
            return Err(too_large(self.max_bytes));
        }
        match tokio::time::timeout(self.timeout, self.collect(body)).await {
            Ok(read) => read,
            Err(_) => Err(Problem::new(
                Kind::RequestTimeout,
                format!(
                    "the whole body must arrive within {}",
                    humantime::format_duration(self.timeout)
                ),
            )),
        }
    }

    /// Collects the body. It takes its share for what has arrived, not for the length that was announced.
    async fn collect(self, body: Body) -> Result<ReceivedBody, Problem> {
        let mut collected = BytesMut::new();
        let mut share = self.budget.share(self.tenant);
        let mut refused = None;
        let mut received = 0_usize;
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| {
                Problem::new(
                    Kind::MalformedRequest,
                    format!("the body broke off: {error}"),
                )
            })?;
            received = received.saturating_add(chunk.len());
            if refused.is_none() {
                refused = if received > self.max_bytes {
                    Some(too_large(self.max_bytes))
                } else {
                    share.grow(chunk.len()).err()
                };
            }
            match &refused {
                None => collected.extend_from_slice(&chunk),
                Some(_) if received > self.max_bytes.saturating_add(DISCARDED_BYTES) => break,
                Some(_) => {
                    share.clear();
                    collected = BytesMut::new();
                }
            }
        }
        match refused {
            Some(problem) => Err(problem),
            None => Ok(ReceivedBody {
                bytes: collected.freeze(),
                share,
            }),
        }
    }
}

fn too_large(max_bytes: usize) -> Problem {
    Problem::new(
        Kind::TooLarge,
        format!("the body is larger than {max_bytes} bytes"),
    )
}

/// A request whose body was read to its end.
#[derive(Debug)]
pub(crate) struct BufferedRequest {
    /// Method and path: part of what makes two requests the same.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: ReceivedBody,
}

impl BufferedRequest {
    /// Reads a request to its end.
    pub(crate) async fn read(reader: BodyReader<'_>, request: Request) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let body = reader.read(&parts.headers, body).await?;
        Ok(Self {
            target: format!("{} {}", parts.method, parts.uri.path()),
            headers: parts.headers,
            body,
        })
    }

    /// Reads a `POST` of JSON without parameters. The JSON is not judged yet.
    pub(crate) async fn read_posted_json(
        state: &AppState,
        caller: &Caller,
        request: Request,
    ) -> Result<Self, Problem> {
        Query::read(request.uri(), &[])?;
        POSTED_JSON.check(request.headers())?;
        let reader = BodyReader::new(state, caller, state.limits().body_bytes);
        Self::read(reader, request).await
    }
}

/// Reads the JSON of a body.
pub(crate) fn json<'a, T>(
    body: &'a [u8],
    read: impl FnOnce(&mut serde_json::Deserializer<SliceRead<'a>>) -> serde_json::Result<T>,
) -> Result<T, Problem> {
    parse_with(body, read).map_err(Problem::malformed_json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn headers(content_type: &'static str) -> HeaderMap {
        let value = HeaderValue::from_static(content_type);
        [(header::CONTENT_TYPE, value)].into_iter().collect()
    }

    #[test]
    fn only_announced_types_in_utf8_are_read() {
        for good in [
            "application/json",
            "application/json; charset=utf-8",
            "Application/JSON;charset=UTF-8",
            "application/json ; charset=utf-8",
            "application/json\t;\tcharset=utf-8",
            "application/json;;charset=\"utf-8\";",
        ] {
            assert!(POSTED_JSON.check(&headers(good)).is_ok(), "{good}");
        }
        for bad in [
            "text/plain",
            "application/merge-patch+json",
            "application/json; charset=latin1",
            "application/json;; charset=\"latin1\"",
        ] {
            let problem = POSTED_JSON.check(&headers(bad)).unwrap_err();
            assert_eq!(problem.kind(), Kind::UnsupportedMediaType, "{bad}");
        }
        assert!(POSTED_JSON.check(&HeaderMap::new()).is_err());
        let problem = POSTED_JSON.check(&headers("json")).unwrap_err();
        assert_eq!(problem.kind(), Kind::BadHeader);
        assert!(
            MERGE_PATCH
                .check(&headers("application/merge-patch+json"))
                .is_ok()
        );
    }

    #[test]
    fn a_coding_is_refused_wherever_it_stands() {
        let coded = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(line));
            }
            refuse_coding(&headers).is_err()
        };
        for plain in [&[][..], &["identity"], &["Identity", "identity , identity"]] {
            assert!(!coded(plain), "{plain:?}");
        }
        for other in [
            &["gzip"][..],
            &["identity", "gzip"],
            &["identity, gzip"],
            &["gzip", "identity"],
        ] {
            assert!(coded(other), "{other:?}");
        }
    }

    fn bounds(budget: &Budget) -> Bounds<'_> {
        Bounds {
            max_bytes: 5,
            timeout: Duration::from_secs(1),
            budget,
            tenant: None,
        }
    }

    async fn kind(budget: &Budget, body: Body) -> Option<Kind> {
        let read = bounds(budget).read(&HeaderMap::new(), body).await;
        read.err().map(|problem| problem.kind())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_bounded_in_size_and_time() {
        let budget = Budget::new(1 << 20, "tests", &Arc::default());
        let none = HeaderMap::new();
        let body = bounds(&budget).read(&none, Body::from("12345")).await;
        assert_eq!(body.unwrap().bytes, "12345");
        let large = Body::from("123456");
        assert_eq!(kind(&budget, large).await, Some(Kind::TooLarge));
        let never = Body::from_stream(futures_util::stream::pending::<Result<Bytes, String>>());
        assert_eq!(kind(&budget, never).await, Some(Kind::RequestTimeout));
    }

    #[tokio::test]
    async fn bodies_share_what_they_may_take() {
        let budget = Budget::new(8, "tests", &Arc::default());
        let none = HeaderMap::new();
        let first = bounds(&budget).read(&none, Body::from("12345")).await;
        let first = first.unwrap();
        let second = || kind(&budget, Body::from("1234"));
        assert_eq!(second().await, Some(Kind::Overloaded));
        drop(first);
        assert_eq!(second().await, None);
    }
}
