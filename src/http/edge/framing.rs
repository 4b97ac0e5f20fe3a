//! Where a request ends: codings that leave that open to doubt are refused, and the TCP connection closed behind it.
//!
//! A proxy that understands such a request otherwise than this service would take a part of it for the next
//! one (request smuggling, RFC 9112, section 11.2). hyper refuses what it cannot read; this refuses the codings
//! that it reads more generously than it should.
//!
//! Where a request is chunked and has a length too, hyper goes by the chunks and closes the TCP connection behind
//! the answer, as RFC 9112, section 6.1, has it. It takes the length away, so that such a request cannot be told
//! from another here.

use axum::http::{HeaderMap, HeaderValue, header};

use super::problem::{Kind, Problem};

/// Refuses requests that have a coding, unless they are chunked and nothing else.
pub(crate) fn refuse(headers: &HeaderMap) -> Option<Problem> {
    doubt(headers).map(|detail| refused("Transfer-Encoding", detail))
}

/// A refusal behind which nothing more is read.
pub(crate) fn refused(name: &str, detail: &str) -> Problem {
    Problem::header(Kind::BadHeader, name, detail)
        .with_header(header::CONNECTION, HeaderValue::from_static("close"))
}

fn doubt(headers: &HeaderMap) -> Option<&'static str> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next()?;
    let alone = codings.next().is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    (!alone).then_some("only chunked is understood, once and alone")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    #[test]
    fn chunked_is_taken_once_and_alone() {
        for (lines, taken) in [
            (&[][..], true),
            (&[("content-length", "3")], true),
            (&[("transfer-encoding", "chunked")], true),
            (&[("transfer-encoding", "Chunked")], true),
            (&[("transfer-encoding", "chunked, chunked")], false),
            (&[("transfer-encoding", "gzip, chunked")], false),
            (&[("transfer-encoding", "identity")], false),
            (
                &[
                    ("transfer-encoding", "gzip"),
                    ("transfer-encoding", "chunked"),
                ],
                false,
            ),
        ] {
            let line = |(name, value): &(&'static str, &'static str)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            };
            let mut headers = HeaderMap::new();
            for (name, value) in lines.iter().map(line) {
                headers.append(name, value);
            }
            assert_eq!(doubt(&headers).is_none(), taken, "{lines:?}");
        }
    }
}
