//! The cookie with a browser's token.
//!
//! A browser sends it along whoever's page asks. So it counts only where the page is known to be one that may
//! ([`super::origin`]).

use axum::http::{HeaderMap, header};

use super::problem::{Kind, Problem};

/// Returns the value of the cookie of this name, from all headers `Cookie`. Several are refused: somebody else may have set one
/// of them.
pub(super) fn find(headers: &HeaderMap, name: &str) -> Result<Option<String>, Problem> {
    let pairs = headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    // The name is compared byte by byte, and nothing but the blanks of the grammar (RFC 6265) is cut off: a browser guards
    // the prefix of no name that only looks like this one.
    let mut values = pairs.filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (trimmed(&pair[..at]), trimmed(&pair[at + 1..]));
        (key == name.as_bytes()).then(|| String::from_utf8_lossy(value).into_owned())
    });
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Problem::header(
            Kind::BadHeader,
            "Cookie",
            "has the cookie with the token twice",
        )),
    }
}

fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn found(lines: &[&[u8]]) -> Result<Option<String>, u16> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        find(&headers, "__Host-t").map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn the_cookie_of_the_name_is_found_among_others() {
        for lines in [
            &[&b"__Host-t=a.b.c"[..]][..],
            &[b"x=1; __Host-t=a.b.c; y=2"],
            &[b"x=1;__Host-t = a.b.c\t;"],
            &[b"x=1", b"__Host-t=a.b.c"],
            &[b"x=\xff", b"__Host-t=a.b.c"],
        ] {
            assert_eq!(found(lines), Ok(Some("a.b.c".to_owned())), "{lines:?}");
        }
        assert_eq!(found(&[b"__Host-t="]), Ok(Some(String::new())));
        assert_eq!(found(&[b"__Host-t=a=b"]), Ok(Some("a=b".to_owned())));
    }

    #[test]
    fn a_name_that_only_looks_like_it_is_another() {
        for line in [
            &b"__host-t=a.b.c"[..],
            b"__HOST-t=a.b.c",
            b"__Host-T=a.b.c",
            b"__Host-tt=a.b.c",
            b"x__Host-t=a.b.c",
            b"__Host-t",
            b"x=__Host-t=a.b.c",
            b"=__Host-t=a.b.c",
            b"$Version=1, __Host-t=a.b.c",
            b"\xc2\xa0__Host-t=a.b.c",
            b"\xe2\x80\x80__Host-t=a.b.c",
            b"__Host%2dt=a.b.c",
            b"\"__Host-t\"=a.b.c",
        ] {
            assert_eq!(found(&[line]), Ok(None), "{line:?}");
        }
    }

    #[test]
    fn the_cookie_twice_is_refused_wherever_the_two_stand() {
        for lines in [
            &[&b"__Host-t=a; __Host-t=a"[..]][..],
            &[b"__Host-t=a", b"__Host-t=b"],
            &[b"__Host-t=a", b"x=\xff; __Host-t=b"],
            &[b"__Host-t=; __Host-t=b"],
            // Quotes do not hold a cookie together.
            &[b"__Host-t=a; x=\"; __Host-t=b; \""],
        ] {
            assert_eq!(found(lines), Err(400), "{lines:?}");
        }
    }
}
