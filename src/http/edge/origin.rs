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
    http::{Extensions, HeaderMap, HeaderName, HeaderValue, header},
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
    /// A program, or a page of this service itself.
    Own,
    /// A page that the configuration allows.
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
        let local = self.local && origin.is_web() && config::is_loopback(origin.host());
        local || self.listed.contains(origin)
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
        let Some(origin) = headers.get(header::ORIGIN) else {
            let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
            return match site {
                Some(b"cross-site" | b"same-site") if self.any => Page::Allowed,
                Some(b"cross-site" | b"same-site") => Page::Foreign,
                _ => Page::Own,
            };
        };
        if self.any {
            return Page::Allowed;
        }
        let Some(origin) = parse(origin) else {
            return Page::Foreign;
        };
        let is_here = target.is_some_and(|target| origin.is_at(&target.host, target.port));
        let is_own = is_here && (!self.tls || origin.is_secure());
        if is_own || self.public.as_ref() == Some(&origin) {
            Page::Own
        } else if self.allows(&origin) {
            Page::Allowed
        } else {
            Page::Foreign
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
        Some(Page::Own | Page::Allowed) => Ok(()),
        Some(Page::Foreign) | None => Err(Problem::new(
            Kind::Forbidden,
            "pages of this origin may not connect; see [cors] origins",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for lines in [
            &[][..],
            &[origin("http://here:1")],
            &[origin("HTTPS://HERE:1/")],
            &[origin("http://here:1"), site("same-origin")],
            &[site("same-origin")],
            &[site("none")],
        ] {
            assert_eq!(page(lines, &none), Page::Own, "{lines:?}");
        }
        let any = origins(&["*"], "");
        for lines in [
            &[origin("http://there")][..],
            &[origin("http://here")],
            &[origin("http://here:2")],
            &[origin("null")],
            &[origin("file://")],
            &[origin("chrome-extension://abc")],
            &[origin("")],
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
            ("https://there.example", Page::Allowed),
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
