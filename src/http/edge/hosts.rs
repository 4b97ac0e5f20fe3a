//! The host that a request names (RFC 9112, section 3.2), and the names under which this node answers.
//!
//! Where everyone who reaches the address may call, only the browser keeps out the pages of other sites. It goes by
//! names: a page may read what comes from the name that the page itself came from. An attacker whose name resolves to
//! this address (DNS rebinding) could read and publish through other people's browsers. So the node answers only under
//! names that are known to be its own.

use std::net::IpAddr;

use axum::{
    extract::Request,
    http::{HeaderMap, Version, header, uri::Authority},
};
use url::Host;

use super::{
    arrival::Arrival,
    framing::refuse_and_close,
    problem::{Kind, Problem},
};
use crate::config::{self, Auth, Config};

/// The host and port that a request names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    pub(crate) host: Host,
    pub(crate) port: Option<u16>,
}

/// The names under which this node answers; `None` if it answers under any.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hosts(Option<Vec<Host>>);

impl Hosts {
    /// Returns the names of a node with these settings.
    pub(crate) fn new(config: &Config) -> Self {
        // With credentials, a name alone would not help an attacker.
        if config.auth == Auth::Required {
            return Self(None);
        }
        let listen = config.listen.ip();
        if !listen.is_loopback() && config.hosts.is_empty() {
            return Self(None);
        }
        let mut known = vec![host_of(listen)];
        known.extend(
            config
                .hosts
                .iter()
                .filter_map(|name| config::host(name).ok()),
        );
        let public = config.public_origin();
        known.extend(public.map(|origin| origin.host().clone()));
        Self(Some(known))
    }

    /// Returns the target of a request, or refuses one that does not name this node.
    pub(crate) fn check(&self, request: &Request) -> Result<Option<Target>, Problem> {
        let target = target(request).map_err(|detail| refuse_and_close("Host", detail))?;
        let arrival = request.extensions().get::<Arrival>();
        let local = arrival.and_then(|arrival| arrival.local);
        match target {
            Some(target) if !self.include(&target.host, local) => Err(misdirected()),
            target => Ok(target),
        }
    }

    fn include(&self, host: &Host, local: Option<IpAddr>) -> bool {
        let Some(known) = &self.0 else {
            return true;
        };
        let local = local.map(host_of);
        config::is_loopback(host) || known.contains(host) || local.as_ref() == Some(host)
    }
}

fn host_of(ip: IpAddr) -> Host {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Host::Ipv4(ip),
        IpAddr::V6(ip) => Host::Ipv6(ip),
    }
}

fn misdirected() -> Problem {
    Problem::new(
        Kind::Misdirected,
        "this node does not answer under this name; the setting hosts lists its names besides localhost",
    )
}

/// Reads the target. A host in the request line wins over the header, but the header must be there as well. HTTP/1.0
/// does not have the header.
fn target(request: &Request) -> Result<Option<Target>, &'static str> {
    let of_header = match single_host(request.headers())? {
        Some(text) => Some(read(text)?),
        None if request.version() < Version::HTTP_11 => None,
        None => return Err("is missing"),
    };
    match request.uri().authority().map(Authority::as_str) {
        Some(text) => read(text).map(Some),
        None => Ok(of_header),
    }
}

/// Returns the one `Host` header.
fn single_host(headers: &HeaderMap) -> Result<Option<&str>, &'static str> {
    let mut lines = headers.get_all(header::HOST).iter();
    let Some(line) = lines.next() else {
        return Ok(None);
    };
    if lines.next().is_some() {
        return Err("is given twice");
    }
    line.to_str().map(Some).map_err(|_| "is not a host")
}

/// Reads `HOST` or `HOST:PORT`; the port may be empty (RFC 3986, section 3.2.3).
fn read(text: &str) -> Result<Target, &'static str> {
    let colon = text
        .rfind(':')
        .filter(|colon| !text[*colon..].contains(']'));
    let (name, port) = match colon {
        Some(colon) => (&text[..colon], &text[colon + 1..]),
        None => (text, ""),
    };
    let port = match port {
        "" => None,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(
            digits
                .parse()
                .map_err(|_| "has a port that is out of range")?,
        ),
        _ => return Err("has a port that is not a number"),
    };
    // In the setting, an address may stand without brackets; in a request it may not.
    if name.contains(':') && !name.starts_with('[') {
        return Err("is not a host");
    }
    let host = config::host(name).map_err(|_| "is not a host")?;
    Ok(Target { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use std::net::SocketAddr;

    fn target_of(
        version: Version,
        uri: &str,
        hosts: &[&'static str],
    ) -> Result<Option<Target>, &'static str> {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        target(&request.body(Body::empty()).unwrap())
    }

    #[test]
    fn a_request_names_its_host_once() {
        let named = |host: &str, port| {
            Some(Target {
                host: config::host(host).unwrap(),
                port,
            })
        };
        for (uri, hosts, expected) in [
            ("/", &["a.example"][..], named("a.example", None)),
            ("/", &["A.example.:80"], named("a.example", Some(80))),
            ("/", &["a.example:"], named("a.example", None)),
            ("/", &["[::1]:8080"], named("[::1]", Some(8080))),
            ("/", &["[::1]"], named("[::1]", None)),
            (
                "http://b.example/x",
                &["a.example"],
                named("b.example", None),
            ),
            (
                "http://b.example:81/x",
                &["b.example"],
                named("b.example", Some(81)),
            ),
        ] {
            assert_eq!(
                target_of(Version::HTTP_11, uri, hosts),
                Ok(expected),
                "{uri} {hosts:?}"
            );
        }
        for hosts in [
            &[][..],
            &["a.example", "a.example"],
            &["a.example", "b.example"],
            &[""],
            &["a b"],
            &["a/b"],
            &["u@a.example"],
            &["a.example:x"],
            &["a.example:99999"],
            &["a.example:-1"],
            &["::1"],
            &["[::1"],
            &["a.example, b.example"],
        ] {
            assert!(
                target_of(Version::HTTP_11, "/", hosts).is_err(),
                "{hosts:?}"
            );
        }
        assert!(target_of(Version::HTTP_11, "http://b.example/", &[]).is_err());
        assert_eq!(target_of(Version::HTTP_10, "/", &[]), Ok(None));
        assert!(target_of(Version::HTTP_10, "/", &["a", "a"]).is_err());
    }

    fn answers_under(listen: &str, hosts: &[&str], name: &str) -> bool {
        let listen: SocketAddr = listen.parse().unwrap();
        let config = Config {
            listen,
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            public_url: "https://public.example".to_owned(),
            ..Config::default()
        };
        let local = "10.1.2.3".parse().ok();
        let target = read(name).unwrap();
        Hosts::new(&config).include(&target.host, local)
    }

    #[test]
    fn a_node_that_everyone_may_call_answers_under_its_own_names() {
        for listen in ["127.0.0.1:8080", "127.0.0.5:80", "[::1]:8080"] {
            for name in [
                "localhost",
                "LocalHost:1",
                "localhost.",
                "127.0.0.1:8080",
                "127.1.2.3",
                "[::1]:8080",
                "[::ffff:127.0.0.1]",
                "10.1.2.3",
                "feed.example:443",
                "public.example",
            ] {
                assert!(
                    answers_under(listen, &["Feed.example"], name),
                    "{listen} {name}"
                );
            }
            for name in [
                "evil.example",
                "localhost.evil.example",
                "feed.example.evil.example",
                "10.1.2.4",
                "[::2]",
                "0.0.0.0",
                "localhost1",
            ] {
                assert!(
                    !answers_under(listen, &["feed.example"], name),
                    "{listen} {name}"
                );
            }
        }
        assert!(answers_under("0.0.0.0:80", &[], "any.example"));
        assert!(answers_under(
            "0.0.0.0:80",
            &["feed.example"],
            "feed.example"
        ));
        assert!(answers_under("0.0.0.0:80", &["feed.example"], "localhost"));
        assert!(!answers_under(
            "0.0.0.0:80",
            &["feed.example"],
            "evil.example"
        ));
    }
}
