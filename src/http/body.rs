//! Request bodies: the right type, not too large, and there in time.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, header},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use mime::Mime;
use serde_json::Value;

use super::problem::{Kind, Problem};
use crate::extjson::parse_json;

/// Bytes beyond the limit that are read and thrown away, so that a client that is still sending
/// reads the answer instead of a broken connection.
const DISCARDED_BYTES: usize = 8 << 20;

/// The media types that a call reads, and the header that says so in a refusal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepts {
    types: &'static [&'static str],
    header: &'static str,
}

/// JSON in a POST.
pub(crate) const POSTED_JSON: Accepts = Accepts::new(&["application/json"], "accept-post");
/// JSON in a PUT.
pub(crate) const PUT_JSON: Accepts = Accepts::new(&["application/json"], "accept");
/// A merge patch (RFC 7396), also under JSON's own name.
pub(crate) const MERGE_PATCH: Accepts = Accepts::new(
    &["application/merge-patch+json", "application/json"],
    "accept-patch",
);

impl Accepts {
    /// These types, announced in this header (in lower case).
    pub(crate) const fn new(types: &'static [&'static str], header: &'static str) -> Self {
        Self { types, header }
    }

    /// Checks that the body is of one of the types, in UTF-8 and not compressed.
    pub(crate) fn check(self, headers: &HeaderMap) -> Result<(), Problem> {
        plain_coding(headers)?;
        let Some(media) = media_type(headers)? else {
            return Err(self.refuse("the request has no Content-Type"));
        };
        if !self.types.contains(&media.essence_str()) {
            return Err(self.refuse(&format!("{} is not read here", media.essence_str())));
        }
        match media.get_param(mime::CHARSET) {
            Some(charset) if charset != mime::UTF_8 => {
                Err(self.refuse(&format!("the charset {charset} is not read; use UTF-8")))
            }
            _ => Ok(()),
        }
    }

    /// A refusal that lists what is read.
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

/// The request's `Content-Type`.
pub(crate) fn media_type(headers: &HeaderMap) -> Result<Option<Mime>, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(None);
    };
    let media = value.to_str().ok().and_then(|text| text.parse().ok());
    media
        .map(Some)
        .ok_or_else(|| Problem::header(Kind::BadHeader, "Content-Type", "is not a media type"))
}

/// Refuses bodies in a content coding.
pub(crate) fn plain_coding(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            let problem = Problem::new(
                Kind::UnsupportedMediaType,
                "compressed bodies are not read; send the body as it is",
            );
            Err(problem.with_header(
                header::ACCEPT_ENCODING,
                HeaderValue::from_static("identity"),
            ))
        }
        _ => Ok(()),
    }
}

/// Reads a whole body of at most `most` bytes, within `patience`.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    most: usize,
    patience: Duration,
) -> Result<Bytes, Problem> {
    let waits = headers.contains_key(header::EXPECT);
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let refused_at = if waits { most } else { most + DISCARDED_BYTES };
    if announced.is_some_and(|length| length > refused_at) {
        return Err(too_large(most));
    }
    match tokio::time::timeout(patience, collect(body, most)).await {
        Ok(read) => read,
        Err(_) => Err(Problem::new(
            Kind::RequestTimeout,
            format!(
                "the whole body has to arrive within {}",
                humantime::format_duration(patience)
            ),
        )),
    }
}

async fn collect(body: Body, most: usize) -> Result<Bytes, Problem> {
    let mut collected = BytesMut::new();
    let mut seen = 0;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            Problem::new(
                Kind::MalformedRequest,
                format!("the body broke off: {error}"),
            )
        })?;
        seen += chunk.len();
        match seen {
            _ if seen <= most => collected.extend_from_slice(&chunk),
            _ if seen > most + DISCARDED_BYTES => break,
            _ => collected.clear(),
        }
    }
    if seen > most {
        return Err(too_large(most));
    }
    Ok(collected.freeze())
}

fn too_large(most: usize) -> Problem {
    Problem::new(
        Kind::TooLarge,
        format!("the body is larger than {most} bytes"),
    )
}

/// Reads JSON.
pub(crate) fn json(body: &[u8]) -> Result<Value, Problem> {
    parse_json(body).map_err(Problem::malformed_json)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        ] {
            assert!(POSTED_JSON.check(&headers(good)).is_ok(), "{good}");
        }
        for bad in [
            "text/plain",
            "application/merge-patch+json",
            "application/json; charset=latin1",
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

    #[tokio::test(start_paused = true)]
    async fn a_body_is_bounded_in_size_and_time() {
        let patience = Duration::from_secs(1);
        let none = HeaderMap::new();
        let body = read(&none, Body::from("12345"), 5, patience).await;
        assert_eq!(body.unwrap(), "12345");
        let body = read(&none, Body::from("123456"), 5, patience).await;
        assert_eq!(body.unwrap_err().kind(), Kind::TooLarge);
        let never = Body::from_stream(futures_util::stream::pending::<Result<Bytes, String>>());
        let body = read(&none, never, 5, patience).await;
        assert_eq!(body.unwrap_err().kind(), Kind::RequestTimeout);
    }
}
