//! Whether a browser asks for a page that may: streams are opened across origins without a question before
//! (sockets by every page, server-sent events by every `<img>`), and take room here.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::problem::{Kind, Problem};

/// How far the page that asks is from here, by a browser's word (W3C Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses a page of another origin that is not allowed by configuration, and what a browser sends for one
/// without saying for which.
pub(super) fn check(headers: &HeaderMap, allowed: &[String]) -> Result<(), Problem> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let any = allowed.iter().any(|allowed| allowed == "*");
    let Some(origin) = text(header::ORIGIN) else {
        return match text(SEC_FETCH_SITE) {
            Some("cross-site" | "same-site") if !any => Err(refusal()),
            _ => Ok(()),
        };
    };
    let own = text(header::HOST).is_some_and(|host| {
        origin
            .split_once("://")
            .is_some_and(|(_, of_origin)| of_origin.eq_ignore_ascii_case(host))
    });
    if own || any || allowed.iter().any(|allowed| allowed == origin) {
        return Ok(());
    }
    Err(refusal())
}

fn refusal() -> Problem {
    Problem::new(
        Kind::Forbidden,
        "pages of this origin may not connect; see [cors] origins",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(lines: &[(&'static str, &'static str)], allowed: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let allowed: Vec<_> = allowed.iter().map(|&origin| origin.to_owned()).collect();
        check(&headers, &allowed).is_ok()
    }

    #[test]
    fn pages_of_other_origins_are_refused_and_no_one_else() {
        let host = ("host", "here:1");
        let origin = |origin| ("origin", origin);
        let site = |site| ("sec-fetch-site", site);
        for lines in [
            &[host][..],
            &[host, origin("http://here:1")],
            &[host, origin("http://here:1"), site("same-origin")],
            &[host, site("same-origin")],
            &[host, site("none")],
        ] {
            assert!(taken(lines, &[]), "{lines:?}");
        }
        for lines in [
            &[host, origin("http://there")][..],
            &[host, origin("null")],
            &[host, site("cross-site")],
            &[host, site("same-site")],
        ] {
            assert!(!taken(lines, &["http://elsewhere"]), "{lines:?}");
            assert!(taken(lines, &["*"]), "{lines:?}");
        }
        assert!(taken(&[host, origin("http://there")], &["http://there"]));
    }
}
