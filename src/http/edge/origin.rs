//! The judgement on whether a page of another origin may call.
//!
//! CORS and streams go by the same judgement. Streams need it because browsers open them across origins without asking
//! first (sockets for every page, server-sent events for every `<img>`), and each takes room on this node.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use axum::{
    extract::Request,
    http::{Extensions, HeaderMap, HeaderName, HeaderValue, header, request::Parts},
};

use super::{
    hosts::Target,
    problem::{Kind, Problem},
};
use crate::config::{self, Config, Origin};

/// The header in which a browser says how far the asking page is from here (W3C Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The number of refused origins that are logged, each once.
const LOGGED_ORIGINS: usize = 100;
/// Characters of an origin in the log.
const LOGGED_CHARS: usize = 256;

/// The kind of page that asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Page {
    /// None, as far as anybody says: a program.
    Program,
    /// A page of this service itself.
    Own,
    /// A page of an origin that the configuration lists.
    Listed,
    /// A page that may call as every page may, or every page of this machine.
    Allowed,
    /// A page of an origin that is not allowed or not named.
    Foreign,
}

/// The origins whose pages may call.
#[derive(Debug)]
pub(crate) struct Origins {
    any: bool,
    listed: Vec<Origin>,
    /// True if pages that this machine serves may call, too.
    local: bool,
    /// The origin of this service as seen through a proxy.
    public: Option<Origin>,
    /// True if this node speaks HTTPS, so that no page that came without TLS is its own.
    tls: bool,
    logged: Mutex<HashSet<String>>,
}

impl Origins {
    /// Returns the origins in these settings, which were checked.
    pub(crate) fn new(config: &Config) -> Self {
        let origins = &config.cors.origins;
        let listed = origins.iter().filter_map(|text| Origin::parse(text).ok());
        Self {
            any: origins.iter().any(|text| text == "*"),
            listed: listed.collect(),
            local: config.cors.local,
            public: config.public_origin(),
            tls: config.tls.is_on(),
            logged: Mutex::default(),
        }
    }

    /// Whether no page of another origin may call.
    pub(crate) fn is_empty(&self) -> bool {
        !self.any && !self.local && self.listed.is_empty()
    }

    /// Whether pages of every origin may call.
    pub(crate) fn any(&self) -> bool {
        self.any
    }

    /// Whether the configuration allows pages of this origin.
    pub(crate) fn lists(&self, origin: &HeaderValue) -> bool {
        parse(origin).is_some_and(|origin| self.allows(&origin))
    }

    fn allows(&self, origin: &Origin) -> bool {
        self.listed.contains(origin) || self.is_local(origin)
    }

    fn is_local(&self, origin: &Origin) -> bool {
        self.local && origin.is_web() && config::is_loopback(origin.host())
    }

    /// Judges the page that sends a request for this target, once for every [`check`].
    pub(crate) fn judge(&self, request: &mut Request, target: Option<&Target>) {
        let headers = request.headers();
        let page = self.page(headers, target);
        if page == Page::Foreign
            && let Some(origin) = headers.get(header::ORIGIN)
        {
            self.log_once(origin);
        }
        request.extensions_mut().insert(page);
    }

    fn page(&self, headers: &HeaderMap, target: Option<&Target>) -> Page {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let (origin, more) = (origins.next(), origins.next().is_some());
        let Some(origin) = origin else {
            let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
            return match site {
                Some(b"cross-site" | b"same-site") if self.any => Page::Allowed,
                Some(b"cross-site" | b"same-site") => Page::Foreign,
                Some(b"same-origin") => Page::Own,
                _ => Page::Program,
            };
        };
        let otherwise = if self.any {
            Page::Allowed
        } else {
            Page::Foreign
        };
        let Some(origin) = parse(origin).filter(|_| !more) else {
            return otherwise;
        };
        let is_here = target.is_some_and(|target| origin.is_at(&target.host, target.port));
        let is_own = is_here && (!self.tls || origin.is_secure());
        if is_own || self.public.as_ref() == Some(&origin) {
            Page::Own
        } else if self.listed.contains(&origin) {
            Page::Listed
        } else if self.is_local(&origin) {
            Page::Allowed
        } else {
            otherwise
        }
    }

    /// Logs a refused origin, once.
    fn log_once(&self, origin: &HeaderValue) {
        let text = String::from_utf8_lossy(origin.as_bytes());
        let text: String = text.chars().take(LOGGED_CHARS).collect();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() >= LOGGED_ORIGINS || !logged.insert(text.clone()) {
            return;
        }
        tracing::warn!(
            origin = text,
            "a page of this origin is refused; [cors] origins lists the origins that may call, and public_url is this service's own"
        );
        if logged.len() == LOGGED_ORIGINS {
            tracing::warn!("further refused origins are not logged");
        }
    }
}

fn parse(origin: &HeaderValue) -> Option<Origin> {
    Origin::parse(origin.to_str().ok()?).ok()
}

/// Refuses pages of other origins that are not allowed, and pages whose origin the browser does not name.
pub(crate) fn check(extensions: &Extensions) -> Result<(), Problem> {
    match extensions.get() {
        Some(Page::Program | Page::Own | Page::Listed | Page::Allowed) => Ok(()),
        Some(Page::Foreign) | None => Err(refusal(
            "pages of this origin may not connect; see [cors] origins",
        )),
    }
}

/// Refuses the cookie of a request unless a page of this service, or of a listed origin, has sent it: a browser sends the
/// cookie along whoever asks.
///
/// The page is the one that the browser names in `Origin`. One header stands in for it where browsers send none, which is
/// with a GET to the page's own origin: `Sec-Fetch-Site: same-origin`, which no page can set. With neither, the cookie is
/// refused. An own page that came without TLS is refused too, unless it is of this machine: anybody on the way may have
/// written it.
pub(super) fn check_cookie(head: &Parts) -> Result<(), Problem> {
    let origin = head.headers.get(header::ORIGIN);
    let reads = head.method.is_safe() && !head.headers.contains_key(header::UPGRADE);
    let may = match (head.extensions.get(), origin) {
        (Some(Page::Listed), Some(_)) => true,
        (Some(Page::Own), Some(origin)) => parse(origin)
            .is_some_and(|origin| origin.is_secure() || config::is_loopback(origin.host())),
        (Some(Page::Own), None) => reads,
        _ => false,
    };
    may.then_some(()).ok_or_else(|| {
        refusal(
            "the cookie counts only where Origin names a page of this service, or of one in [cors] origins",
        )
    })
}

/// Refuses the certificate of a browser unless a page of this service or of a listed origin asks: the browser shows it whoever
/// asks. Programs name no page.
pub(super) fn check_certificate(extensions: &Extensions) -> Result<(), Problem> {
    match extensions.get() {
        Some(Page::Program | Page::Own | Page::Listed) => Ok(()),
        Some(Page::Allowed | Page::Foreign) | None => Err(refusal(
            "pages of this origin may not use the client's certificate; see [cors] origins",
        )),
    }
}

fn refusal(detail: &str) -> Problem {
    Problem::new(Kind::Forbidden, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Method;

    fn origins(listed: &[&str], public_url: &str) -> Origins {
        let mut config = Config {
            public_url: public_url.to_owned(),
            ..Config::default()
        };
        config.cors.origins = listed.iter().map(|&origin| origin.to_owned()).collect();
        Origins::new(&config)
    }

    fn page(lines: &[(&'static str, &'static str)], origins: &Origins) -> Page {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let target = Target {
            host: config::host("here").unwrap(),
            port: Some(1),
        };
        origins.page(&headers, Some(&target))
    }

    #[test]
    fn pages_of_other_origins_are_foreign_and_nothing_else_is() {
        let origin = |origin| ("origin", origin);
        let site = |site| ("sec-fetch-site", site);
        let none = origins(&["http://elsewhere"], "");
        let any = origins(&["*"], "");
        for lines in [
            &[origin("http://here:1")][..],
            &[origin("HTTPS://HERE:1/")],
            &[origin("http://here:1"), site("same-origin")],
            &[site("same-origin")],
        ] {
            assert_eq!(page(lines, &none), Page::Own, "{lines:?}");
            assert_eq!(page(lines, &any), Page::Own, "{lines:?}");
        }
        for lines in [&[][..], &[site("none")], &[site("unheard of")]] {
            assert_eq!(page(lines, &none), Page::Program, "{lines:?}");
            assert_eq!(page(lines, &any), Page::Program, "{lines:?}");
        }
        for lines in [
            &[origin("http://there")][..],
            &[origin("http://here")],
            &[origin("http://here:2")],
            &[origin("null")],
            &[origin("file://")],
            &[origin("chrome-extension://abc")],
            &[origin("")],
            &[origin("http://here:1"), origin("http://there")],
            &[site("cross-site")],
            &[site("same-site")],
        ] {
            assert_eq!(page(lines, &none), Page::Foreign, "{lines:?}");
            assert_eq!(page(lines, &any), Page::Allowed, "{lines:?}");
        }
    }

    #[test]
    fn listed_and_public_origins_may_call_in_any_spelling() {
        let origins = origins(&["HTTPS://There.example:443/"], "https://feed.example");
        for (origin, expected) in [
            ("https://there.example", Page::Listed),
            ("https://feed.example", Page::Own),
            ("https://feed.example:443", Page::Own),
            ("http://feed.example", Page::Foreign),
        ] {
            assert_eq!(page(&[("origin", origin)], &origins), expected, "{origin}");
        }
        assert!(origins.lists(&HeaderValue::from_static("https://there.example")));
        assert!(!origins.lists(&HeaderValue::from_static("https://feed.example")));
    }

    #[test]
    fn a_page_that_came_without_tls_is_not_one_of_a_node_that_speaks_it() {
        let mut config = Config::default();
        "a.pem".clone_into(&mut config.tls.certificate);
        let origins = Origins::new(&config);
        for (origin, expected) in [
            ("https://here:1", Page::Own),
            ("http://here:1", Page::Foreign),
        ] {
            assert_eq!(page(&[("origin", origin)], &origins), expected, "{origin}");
        }
    }

    #[test]
    fn pages_of_this_machine_may_call_a_node_for_development() {
        let mut config = Config::default();
        config.cors.local = true;
        let origins = Origins::new(&config);
        assert!(!origins.is_empty());
        for (origin, expected) in [
            ("http://localhost:3000", Page::Allowed),
            ("https://localhost", Page::Allowed),
            ("http://127.0.0.1:5173", Page::Allowed),
            ("http://[::1]:8000", Page::Allowed),
            ("http://localhost.evil.example", Page::Foreign),
            ("http://127.0.0.1.nip.io", Page::Foreign),
            ("http://10.0.0.1:8000", Page::Foreign),
            ("chrome-extension://localhost", Page::Foreign),
            ("null", Page::Foreign),
        ] {
            assert_eq!(page(&[("origin", origin)], &origins), expected, "{origin}");
        }
    }

    /// Returns whether the cookie, and the certificate, of such a request count.
    fn proofs(
        method: &Method,
        lines: &[(&'static str, &'static str)],
        origins: &Origins,
    ) -> (bool, bool) {
        let mut request = Request::new(axum::body::Body::empty());
        *request.method_mut() = method.clone();
        for (name, value) in lines {
            let value = HeaderValue::from_static(value);
            request.headers_mut().append(*name, value);
        }
        let target = Target {
            host: config::host("here").unwrap(),
            port: None,
        };
        origins.judge(&mut request, Some(&target));
        let (head, _) = request.into_parts();
        let certificate = check_certificate(&head.extensions);
        (check_cookie(&head).is_ok(), certificate.is_ok())
    }

    #[test]
    fn what_a_browser_sends_unasked_counts_for_own_and_listed_pages_alone() {
        let origin = |origin| ("origin", origin);
        let site = |site| ("sec-fetch-site", site);
        let upgrade = ("upgrade", "websocket");
        let mut listed = origins(&["https://listed"], "");
        listed.local = true;
        let any = origins(&["*", "https://listed"], "");
        let (get, post) = (Method::GET, Method::POST);
        for origins in [&listed, &any] {
            for (lines, read, write) in [
                (&[origin("https://here")][..], (true, true), (true, true)),
                (&[origin("https://listed")], (true, true), (true, true)),
                // Anybody on the way may have written it.
                (&[origin("http://here")], (false, true), (false, true)),
                (&[site("same-origin")], (true, true), (false, true)),
                (
                    &[site("same-origin"), upgrade],
                    (false, true),
                    (false, true),
                ),
                (&[], (false, true), (false, true)),
                (&[site("none")], (false, true), (false, true)),
                (&[site("cross-site")], (false, false), (false, false)),
                (&[site("same-site")], (false, false), (false, false)),
                (&[origin("null")], (false, false), (false, false)),
                (&[origin("https://evil")], (false, false), (false, false)),
                (
                    &[origin("http://localhost:3000")],
                    (false, false),
                    (false, false),
                ),
                (
                    &[origin("https://here"), origin("https://here")],
                    (false, false),
                    (false, false),
                ),
            ] {
                assert_eq!(proofs(&get, lines, origins), read, "GET {lines:?}");
                assert_eq!(proofs(&post, lines, origins), write, "POST {lines:?}");
            }
        }
        let unjudged = Request::new(axum::body::Body::empty()).into_parts().0;
        assert!(check_cookie(&unjudged).is_err());
        assert!(check_certificate(&unjudged.extensions).is_err());
    }

    #[test]
    fn refused_origins_are_remembered_up_to_a_bound() {
        let origins = origins(&[], "");
        for n in 0..LOGGED_ORIGINS * 2 {
            let text = format!("http://o{n}.{}", "x".repeat(2_000));
            origins.log_once(&HeaderValue::from_str(&text).unwrap());
        }
        let logged = origins.logged.lock().unwrap();
        assert_eq!(logged.len(), LOGGED_ORIGINS);
        assert!(logged.iter().all(|text| text.len() <= LOGGED_CHARS));
    }
}
