//! Origins (RFC 6454) and hosts: the names by which browsers know pages and this service.
//!
//! Each is read in one way and compared in one way. No error quotes the text that it is about.

use url::{Host, Url};

/// The origin of a page: scheme, host and port.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Origin {
    scheme: String,
    host: Host,
    port: Option<u16>,
}

impl Origin {
    /// Reads an origin as people write it: capitals, a default port and a slash at the end make no
    /// difference.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text == "null" || text.starts_with("file:") {
            return Err(
                "is the origin of every local or sandboxed page: serve the page over HTTP, or allow *",
            );
        }
        if text.contains('*') {
            return Err("has a wildcard: list each origin, or * alone for all");
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("has no scheme: an origin is SCHEME://HOST or SCHEME://HOST:PORT");
        };
        if ["ws", "wss"]
            .iter()
            .any(|other| scheme.eq_ignore_ascii_case(other))
        {
            return Err(
                "is the address of a socket: give the origin of the page, with http or https",
            );
        }
        if rest
            .trim_end_matches('/')
            .contains(['/', '?', '#', '@', '\\'])
        {
            return Err("has more than scheme, host and port");
        }
        let url = Url::parse(text).map_err(|_| "is not SCHEME://HOST or SCHEME://HOST:PORT")?;
        let host = url.host().ok_or("has no host")?;
        Ok(Self {
            scheme: url.scheme().to_owned(),
            host: rooted(host.to_owned()),
            port: url.port_or_known_default(),
        })
    }

    /// Whether a client that asks for this host and port names this origin. Without a port, the
    /// default of the scheme is meant. A proxy may have removed TLS, so the scheme is not known
    /// here.
    pub fn is_at(&self, host: &Host, port: Option<u16>) -> bool {
        let default = match self.scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        self.host == *host && self.port == port.or(default)
    }

    /// Whether the scheme is http or https.
    pub fn is_web(&self) -> bool {
        matches!(self.scheme.as_str(), "http" | "https")
    }

    /// Whether the scheme is https.
    pub fn is_secure(&self) -> bool {
        self.scheme == "https"
    }

    /// Returns the host.
    pub fn host(&self) -> &Host {
        &self.host
    }
}

/// Whether a host is this machine, for every client.
pub fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
        Host::Domain(name) => name == "localhost",
    }
}

/// Reads a host as URLs have it: a name, an IPv4 address, or an IPv6 address in brackets.
pub fn host(text: &str) -> Result<Host, &'static str> {
    let text = text.trim();
    if text.contains('*') || text.starts_with('.') {
        return Err("has a wildcard: list each name");
    }
    let bare = text.parse().ok().map(Host::Ipv6);
    let read = bare.map_or_else(|| Host::parse(text).map_err(|_| ()), Ok);
    match read.map(rooted) {
        Ok(Host::Domain(name)) if name.is_empty() => Err("is empty"),
        Ok(host) => Ok(host),
        Err(()) => Err("is not a name or an address: leave out scheme, port and path"),
    }
}

/// Normalizes a host: a name means the same with a dot at its end, and an address the same in
/// either form.
fn rooted(host: Host) -> Host {
    match host {
        Host::Domain(mut name) => {
            name.make_ascii_lowercase();
            if name.ends_with('.') {
                name.pop();
            }
            Host::Domain(name)
        }
        Host::Ipv6(ip) => ip.to_ipv4_mapped().map_or(Host::Ipv6(ip), Host::Ipv4),
        ip @ Host::Ipv4(_) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_the_same_however_it_is_written() {
        for (one, other) in [
            ("https://a.example", "https://a.example/"),
            ("https://a.example", " https://a.example"),
            ("https://a.example", "HTTPS://A.Example"),
            ("https://a.example", "https://a.example:443"),
            ("https://a.example", "https://a.example."),
            ("http://a.example:80", "http://a.example"),
            ("http://[::1]:8080", "http://[0:0::1]:8080/"),
            (
                "https://b\u{fc}cher.example",
                "https://xn--bcher-kva.example",
            ),
            ("capacitor://localhost", "capacitor://LOCALHOST/"),
        ] {
            assert_eq!(
                Origin::parse(one).unwrap(),
                Origin::parse(other).unwrap(),
                "{other}"
            );
        }
        for (one, other) in [
            ("https://a.example", "http://a.example"),
            ("https://a.example", "https://a.example:8443"),
            ("https://a.example", "https://b.example"),
            ("https://a.example", "https://x.a.example"),
        ] {
            assert_ne!(
                Origin::parse(one).unwrap(),
                Origin::parse(other).unwrap(),
                "{other}"
            );
        }
    }

    #[test]
    fn what_is_no_origin_is_refused_with_the_reason() {
        for (text, reason) in [
            ("a.example", "no scheme"),
            ("localhost:3000", "no scheme"),
            ("https://a.example/app", "more than"),
            ("https://a.example?x", "more than"),
            ("https://u@a.example", "more than"),
            ("https://*.a.example", "wildcard"),
            ("null", "sandboxed"),
            ("file://", "sandboxed"),
            ("file:///srv/page.html", "sandboxed"),
            ("wss://a.example", "socket"),
            ("https://", "is not"),
            ("https://a.example:99999", "is not"),
            ("", "no scheme"),
        ] {
            let refused = Origin::parse(text).unwrap_err();
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }

    #[test]
    fn a_page_is_at_the_host_that_it_is_asked_from() {
        for (origin, name, port, at) in [
            ("http://a.example:8080", "a.example", Some(8080), true),
            ("https://a.example", "a.example", None, true),
            ("https://a.example", "A.Example.", Some(443), true),
            ("https://a.example:443", "a.example", None, true),
            ("http://a.example", "a.example", Some(443), false),
            ("http://a.example", "a.example", Some(8080), false),
            ("https://b.example", "a.example", None, false),
            ("http://[::1]:1", "[::1]", Some(1), true),
        ] {
            let host = host(name).unwrap();
            let origin = Origin::parse(origin).unwrap();
            assert_eq!(origin.is_at(&host, port), at, "{origin:?} {name} {port:?}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_nothing_more() {
        for (text, other) in [
            ("Feed.Example", "feed.example."),
            ("::1", "[::1]"),
            ("[::ffff:127.0.0.1]", "127.0.0.1"),
            ("my_service", "MY_SERVICE"),
        ] {
            assert_eq!(host(text).unwrap(), host(other).unwrap(), "{text}");
        }
        for text in [
            "",
            "*",
            "*.a.example",
            ".a.example",
            "a.example:80",
            "http://a.example",
            "a/b",
            "a b",
        ] {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
