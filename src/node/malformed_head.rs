//! Requests of which HTTP's library cannot read the head.
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

/// What a client still sends is read for so long, and so much of it at most: it would get a reset instead of
/// the answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: u64 = 1 << 20;
/// More than a problem has.
const MOST_BYTES: usize = 64 * 1024;

/// Answers a request of which the head was `read` so far, if the library did; then nothing more is read.
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
        wire.shutdown().await
    };
    if told.await.is_ok() {
        let rest = &mut tokio::io::sink();
        let mut rest_of_client = wire.take(LINGER_BYTES);
        // Whatever comes of it: the connection ends here.
        drop(timeout(LINGER, tokio::io::copy(&mut rest_of_client, rest)).await);
    }
}

fn problem(read: &[u8], error: &hyper::Error) -> Problem {
    if !error.is_parse_too_large() {
        return Problem::new(Kind::MalformedRequest, "the request is not HTTP/1.1");
    }
    // The address stands on the first line.
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

/// Whether the first line alone is more than the library reads of an address.
fn is_longer_than_any(read: &[u8]) -> bool {
    const MOST: usize = u16::MAX as usize - 1;
    let line = read.iter().position(|byte| *byte == b'\n');
    line.is_some_and(|line| line > MOST)
}

async fn written(answer: Response<Body>, date: Option<HeaderValue>) -> Vec<u8> {
    let (mut parts, body) = answer.into_parts();
    let body = to_bytes(body, MOST_BYTES).await.unwrap_or_default();
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
