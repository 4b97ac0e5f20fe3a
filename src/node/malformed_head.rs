//! Refusals of requests whose head hyper cannot parse.
//!
//! It answers them with a bare status, which the [`GaugedTcp`] holds back; a problem is sent in its place.

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    http::{HeaderValue, Response, header},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::{
    carrier::GaugedTcp,
    http::{
        self,
        problem::{Kind, Problem},
    },
};

/// Time for which the rest of the request is read. Without that, the client would get a reset instead of the
/// answer.
const LINGER: Duration = Duration::from_secs(2);
/// The most bytes of that rest.
const LINGER_BYTES: u64 = 1 << 20;
/// More than a problem has.
const MOST_PROBLEM_BYTES: usize = 64 * 1024;

/// Answers a request whose head was `read` so far, in place of hyper. Then closes the connection.
pub(super) async fn refuse(mut wire: GaugedTcp, read: &[u8], error: &hyper::Error) {
    let Some(bare) = wire.take_withheld() else {
        return;
    };
    let date = bare
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"date: "));
    let date = date.and_then(|date| HeaderValue::from_bytes(date.trim_ascii()).ok());
    let answer = http::unread(problem(read, error));
    let told = async {
        wire.write_all(&written(answer, date).await).await?;
        wire.flush().await?;
        wire.end().await
    };
    if told.await.is_ok() {
        let rest = &mut tokio::io::sink();
        let mut rest_of_client = wire.take(LINGER_BYTES);
        // The result does not matter: the connection ends here.
        drop(timeout(LINGER, tokio::io::copy(&mut rest_of_client, rest)).await);
    }
}

fn problem(read: &[u8], error: &hyper::Error) -> Problem {
    if !error.is_parse_too_large() {
        return Problem::new(Kind::MalformedRequest, "the request is not HTTP/1.1");
    }
    // The first line has the address.
    if read.contains(&b'\n') && !is_longer_than_any(read) {
        Problem::new(
            Kind::HeadersTooLarge,
            "the request's headers exceed limits.header_bytes, or are more than 100",
        )
    } else {
        Problem::new(
            Kind::UriTooLong,
            "the address is longer than limits.header_bytes",
        )
    }
}

/// Whether the first line alone is longer than any address that hyper reads.
fn is_longer_than_any(read: &[u8]) -> bool {
    const MOST_URI_BYTES: usize = u16::MAX as usize - 1;
    let line = read.iter().position(|byte| *byte == b'\n');
    line.is_some_and(|line| line > MOST_URI_BYTES)
}

async fn written(answer: Response<Body>, date: Option<HeaderValue>) -> Vec<u8> {
    let (mut parts, body) = answer.into_parts();
    let body = to_bytes(body, MOST_PROBLEM_BYTES).await.unwrap_or_default();
    let close = HeaderValue::from_static("close");
    parts.headers.insert(header::CONNECTION, close);
    let length = HeaderValue::from(body.len());
    parts.headers.insert(header::CONTENT_LENGTH, length);
    parts.headers.extend(date.map(|date| (header::DATE, date)));
    let mut written = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    for (name, value) in &parts.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            written.extend_from_slice(part);
        }
    }
    written.extend_from_slice(b"\r\n");
    written.extend_from_slice(&body);
    written
}
