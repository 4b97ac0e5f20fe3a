//! Refusals of requests whose end is in doubt. The TCP connection is closed behind them.
//!
//! A proxy that frames such a request differently would take part of it for the next one (request smuggling, RFC 9112,
//! section 11.2). hyper refuses what it cannot read; this refuses the transfer codings that hyper reads too
//! generously.
//!
//! If a request is chunked and also has a length, hyper goes by the chunks and closes the TCP connection behind the
//! answer, as RFC 9112, section 6.1, demands. It removes the length, so such a request looks like any other here.

use axum::http::{HeaderMap, HeaderValue, header};

use super::problem::{Kind, Problem};

/// Refuses transfer codings other than `chunked` alone, and expectations other than `100-continue`.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Problem> {
    if has_doubtful_coding(headers) {
        let detail = "only chunked is supported, once and alone";
        return Err(refuse_and_close("Transfer-Encoding", detail));
    }
    let expected = headers.get(header::EXPECT);
    if expected.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Problem::header(
            Kind::ExpectationFailed,
            "Expect",
            "only 100-continue is supported",
        ));
    }
    Ok(())
}

/// Returns a refusal behind which nothing more is read.
pub(crate) fn refuse_and_close(name: &str, detail: &str) -> Problem {
    Problem::header(Kind::BadHeader, name, detail)
        .with_header(header::CONNECTION, HeaderValue::from_static("close"))
}

fn has_doubtful_coding(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return false;
    };
    let alone = codings.next().is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    !alone
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
            assert_eq!(has_doubtful_coding(&headers), !taken, "{lines:?}");
        }
    }
}
