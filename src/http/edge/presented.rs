//! The credential that a request presents, before anybody looks whether it stands.

use axum::http::{HeaderMap, HeaderValue, header, request::Parts};

use super::{
    cookie,
    problem::{Kind, Problem},
    ticket,
    unauthenticated::not_valid,
};

/// The subprotocol that carries a credential, since browsers cannot set a header on a WebSocket.
const BEARER_SUBPROTOCOL: &str = "tidegate.bearer.";

/// A credential as a request presents it.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Presented {
    /// The text of a key or token.
    Text(String),
    /// The text of a ticket.
    Ticket(String),
    /// The value of the cookie.
    Cookie(String),
}

/// Returns the one credential that a request presents; else its kind, as metrics name it, and the refusal. `cookie` is the
/// name of the cookie that counts, if one does. It does not beside `Authorization`: a browser sends it along unasked.
pub(super) fn presented(
    head: &Parts,
    cookie: Option<&str>,
) -> Result<Option<Presented>, (&'static str, Problem)> {
    let of = |kind| move |problem| (kind, problem);
    let headers = &head.headers;
    let text = presented_text(headers).map_err(of("key"))?;
    let ticket = ticket::presented(head).map_err(of("ticket"))?;
    let cookie = match cookie {
        Some(name) if !headers.contains_key(header::AUTHORIZATION) => {
            cookie::find(headers, name).map_err(of("cookie"))?
        }
        _ => None,
    };
    let all = [
        text.map(Presented::Text),
        ticket.map(Presented::Ticket),
        cookie.map(Presented::Cookie),
    ];
    let mut found = all.into_iter().flatten();
    match (found.next(), found.next()) {
        (credential, None) => Ok(credential),
        _ => Err(of("key")(two_credentials())),
    }
}

/// Returns the one credential in the headers of a request.
fn presented_text(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut found = Vec::new();
    for value in headers.get_all(header::AUTHORIZATION) {
        found.push(bearer(value).ok_or_else(not_valid)?);
    }
    found.extend(subprotocol(headers)?);
    match <[String; 1]>::try_from(found) {
        Ok([text]) => Ok(Some(text)),
        Err(none) if none.is_empty() => Ok(None),
        Err(_) => Err(two_credentials()),
    }
}

/// Returns the refusal of a request with several credentials: nobody can say which of them counts.
pub(super) fn two_credentials() -> Problem {
    let detail = "a request may present one credential only";
    Problem::header(Kind::BadHeader, "Authorization", detail)
}

/// Returns the credential of a header `Authorization`. The name of the scheme may be in any case (RFC 9110).
fn bearer(value: &HeaderValue) -> Option<String> {
    let (scheme, text) = value.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| text.trim().to_owned())
}

/// Returns the credential among the subprotocols of an upgrade.
fn subprotocol(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut credential = None;
    let mut others = 0;
    for name in subprotocols(headers) {
        match name.strip_prefix(BEARER_SUBPROTOCOL) {
            None => others += 1,
            Some(text) if credential.is_none() => credential = Some(text.to_owned()),
            Some(_) => return Err(bad_subprotocol("may name one credential only")),
        }
    }
    if credential.is_none() {
        return Ok(None);
    }
    let upgrade = headers.get(header::UPGRADE).map(HeaderValue::as_bytes);
    if !upgrade.is_some_and(|name| name.eq_ignore_ascii_case(b"websocket")) {
        return Err(bad_subprotocol("carries a credential on an upgrade only"));
    }
    if others == 0 {
        // A server must answer with one of those that are offered, and never with the credential.
        return Err(bad_subprotocol(
            "must offer tidegate.v1, tidegate.many.v1 or cloudevents.json too",
        ));
    }
    Ok(credential)
}

fn bad_subprotocol(detail: &str) -> Problem {
    Problem::header(Kind::BadHeader, "Sec-WebSocket-Protocol", detail)
}

fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|value| value.split(',')).map(str::trim)
}

/// Takes credentials out of the headers: nothing behind this needs them.
pub(super) fn hide(headers: &mut HeaderMap) {
    headers.remove(header::AUTHORIZATION);
    headers.remove(header::COOKIE);
    let has_credential = subprotocols(headers).any(|name| name.starts_with(BEARER_SUBPROTOCOL));
    if !has_credential {
        return;
    }
    let others = subprotocols(headers).filter(|name| !name.starts_with(BEARER_SUBPROTOCOL));
    let others = others.collect::<Vec<_>>().join(", ");
    match HeaderValue::from_str(&others) {
        Ok(others) if !others.is_empty() => {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, others);
        }
        _ => _ = headers.remove(header::SEC_WEBSOCKET_PROTOCOL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, extract::Request};

    fn request(lines: &[(&'static str, &'static str)]) -> Request {
        let mut request = Request::new(Body::empty());
        for (name, value) in lines {
            let value = HeaderValue::from_static(value);
            request.headers_mut().append(*name, value);
        }
        request
    }

    fn found(lines: &[(&'static str, &'static str)]) -> Result<Option<String>, u16> {
        let (head, _) = request(lines).into_parts();
        match presented(&head, Some("__Host-t")) {
            Ok(None) => Ok(None),
            Ok(Some(Presented::Text(text) | Presented::Ticket(text))) => Ok(Some(text)),
            Ok(Some(Presented::Cookie(value))) => Ok(Some(format!("cookie {value}"))),
            Err((_, problem)) => Err(problem.status().as_u16()),
        }
    }

    const PROTOCOL: &str = "sec-websocket-protocol";

    #[test]
    fn a_credential_comes_in_a_header_or_beside_a_subprotocol() {
        let text = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(found(&[]), Ok(None));
        assert_eq!(found(&[("authorization", "Bearer abc")]), text("abc"));
        assert_eq!(found(&[("authorization", "bEARER  abc ")]), text("abc"));
        let upgrade = ("upgrade", "websocket");
        for offer in [
            "tidegate.v1, tidegate.bearer.a.b-c_d",
            "tidegate.bearer.a.b-c_d,cloudevents.json",
        ] {
            assert_eq!(found(&[upgrade, (PROTOCOL, offer)]), text("a.b-c_d"));
        }
    }

    #[test]
    fn a_cookie_counts_beside_no_other_credential_and_not_at_all_beside_authorization() {
        let cookie = ("cookie", "a=b; __Host-t=x.y.z; c=d");
        let upgrade = ("upgrade", "websocket");
        let text = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(found(&[cookie]), text("cookie x.y.z"));
        assert_eq!(found(&[("cookie", "a=b")]), Ok(None));
        let twice = ("cookie", "__Host-t=x.y.z");
        assert_eq!(found(&[cookie, twice]), Err(400));
        let key = ("authorization", "Bearer a");
        for cookies in [&[cookie][..], &[cookie, twice]] {
            assert_eq!(found(&[&[key], cookies].concat()), text("a"));
            // A header that proves nothing does not make way for it.
            let basic = ("authorization", "Basic YTpi");
            assert_eq!(found(&[&[basic], cookies].concat()), Err(401));
        }
        let offer = (PROTOCOL, "tidegate.v1, tidegate.bearer.b");
        assert_eq!(found(&[cookie, upgrade, offer]), Err(400));
        let (head, _) = request(&[cookie]).into_parts();
        assert!(matches!(presented(&head, None), Ok(None)));
    }

    #[test]
    fn two_credentials_or_one_at_the_wrong_place_are_refused() {
        let upgrade = ("upgrade", "websocket");
        let key = ("authorization", "Bearer a");
        for (lines, status) in [
            (&[key, ("authorization", "Bearer b")][..], 400),
            (
                &[key, upgrade, (PROTOCOL, "tidegate.v1, tidegate.bearer.b")],
                400,
            ),
            (
                &[
                    upgrade,
                    (
                        PROTOCOL,
                        "tidegate.v1, tidegate.bearer.b, tidegate.bearer.b",
                    ),
                ],
                400,
            ),
            (&[upgrade, (PROTOCOL, "tidegate.bearer.b")], 400),
            (&[(PROTOCOL, "tidegate.v1, tidegate.bearer.b")], 400),
            (
                &[
                    ("upgrade", "h2c"),
                    (PROTOCOL, "tidegate.v1, tidegate.bearer.b"),
                ],
                400,
            ),
            (&[("authorization", "Basic YTpi")], 401),
            (&[("authorization", "abc")], 401),
        ] {
            assert_eq!(found(lines), Err(status), "{lines:?}");
        }
    }

    #[test]
    fn nothing_behind_the_edge_sees_a_credential() {
        let mut headers = request(&[
            ("authorization", "Bearer secret"),
            ("cookie", "__Host-t=secret"),
            ("cookie", "a=secret"),
            (PROTOCOL, "tidegate.v1, tidegate.bearer.secret"),
            (PROTOCOL, "cloudevents.json"),
        ])
        .headers()
        .clone();
        hide(&mut headers);
        assert_eq!(headers[PROTOCOL], "tidegate.v1, cloudevents.json");
        assert!(!format!("{headers:?}").contains("secret"));
    }
}
