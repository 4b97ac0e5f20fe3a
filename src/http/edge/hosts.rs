//! For which host a request is (RFC 9112, section 3.2), and whether this node is one that is called so.
//!
//! Where everyone who reaches the address may call, a page of any site is kept out by its browser alone, which
//! goes by names: it lets a page read what comes from the name that the page came from. Somebody who has a name
//! resolve to this address (DNS rebinding) would so read and publish through the browsers of others. So only
//! the names are taken that are known to be this node's.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Version, header, uri::Authority},
    middleware::Next,
    response::Response,
};
use url::Host;

use super::{
    framing::refused,
    outgoing::unread,
    problem::{Kind, Problem},
};
use crate::{
    config::{self, Auth, Config},
    http::layers::Common,
};

/// The address at which a request arrived, where it is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived(pub Option<IpAddr>);

/// For what a request is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    pub(crate) host: Host,
    pub(crate) port: Option<u16>,
}

/// The names that are this node's; `None` where it is called as anyone likes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hosts(Option<Vec<Host>>);

impl Hosts {
    /// Of a node with these settings.
    pub(crate) fn new(config: &Config) -> Self {
        // With credentials, a name alone would get nobody anywhere.
        let Auth::None = config.auth;
        let listen = config.listen.ip();
        if !listen.is_loopback() && config.hosts.is_empty() {
            return Self(None);
        }
        let mut known = vec![of(listen)];
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

    fn take(&self, host: &Host, arrived: Option<Arrived>) -> bool {
        let Some(known) = &self.0 else {
            return true;
        };
        let arrived = arrived.and_then(|Arrived(ip)| ip).map(of);
        config::is_loopback(host) || known.contains(host) || arrived.as_ref() == Some(host)
    }
}

fn of(ip: IpAddr) -> Host {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Host::Ipv4(ip),
        IpAddr::V6(ip) => Host::Ipv6(ip),
    }
}

/// Lets only requests through that say for whom they are, and are for this node; and judges whether a page
/// asks. Before all else: a preflight of CORS is answered without a look at the rest.
pub(crate) async fn check(
    State(common): State<Arc<Common>>,
    mut request: Request,
    next: Next,
) -> Response {
    match judge(&common, &request) {
        Ok(target) => {
            common.origins.judge(&mut request, target.as_ref());
            next.run(request).await
        }
        Err(problem) => unread(problem),
    }
}

fn judge(common: &Common, request: &Request) -> Result<Option<Target>, Problem> {
    let target = target(request).map_err(|detail| refused("Host", detail))?;
    let arrived = request.extensions().get().copied();
    match target {
        Some(target) if !common.hosts.take(&target.host, arrived) => Err(misdirected()),
        target => Ok(target),
    }
}

fn misdirected() -> Problem {
    Problem::new(
        Kind::Misdirected,
        "this node is not called so; the setting hosts lists the names besides localhost under which it is",
    )
}

/// A target that names a host goes before the header, which has to be there all the same. HTTP/1.0 knows no
/// such header.
fn target(request: &Request) -> Result<Option<Target>, &'static str> {
    let of_header = match lone(request.headers())? {
        Some(text) => Some(read(text)?),
        None if request.version() < Version::HTTP_11 => None,
        None => return Err("is missing"),
    };
    match request.uri().authority().map(Authority::as_str) {
        Some(text) => read(text).map(Some),
        None => Ok(of_header),
    }
}

fn lone(headers: &HeaderMap) -> Result<Option<&str>, &'static str> {
    let mut lines = headers.get_all(header::HOST).iter();
    let Some(line) = lines.next() else {
        return Ok(None);
    };
    if lines.next().is_some() {
        return Err("is given twice");
    }
    line.to_str().map(Some).map_err(|_| "is no host")
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
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().map_err(|_| "has no such port")?)
        }
        _ => return Err("has no number as its port"),
    };
    // The setting may have an address without its brackets; a request may not.
    if name.contains(':') && !name.starts_with('[') {
        return Err("is no host");
    }
    let host = config::host(name).map_err(|_| "is no host")?;
    Ok(Target { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use std::net::SocketAddr;

    fn asked(
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
    fn a_request_says_once_for_which_host_it_is() {
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
                asked(Version::HTTP_11, uri, hosts),
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
            assert!(asked(Version::HTTP_11, "/", hosts).is_err(), "{hosts:?}");
        }
        assert!(asked(Version::HTTP_11, "http://b.example/", &[]).is_err());
        assert_eq!(asked(Version::HTTP_10, "/", &[]), Ok(None));
        assert!(asked(Version::HTTP_10, "/", &["a", "a"]).is_err());
    }

    fn taken(listen: &str, hosts: &[&str], name: &str) -> bool {
        let listen: SocketAddr = listen.parse().unwrap();
        let config = Config {
            listen,
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            public_url: "https://public.example".to_owned(),
            ..Config::default()
        };
        let arrived = Some(Arrived("10.1.2.3".parse().ok()));
        let target = read(name).unwrap();
        Hosts::new(&config).take(&target.host, arrived)
    }

    #[test]
    fn a_node_that_everyone_may_call_is_called_by_its_own_names() {
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
                assert!(taken(listen, &["Feed.example"], name), "{listen} {name}");
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
                assert!(!taken(listen, &["feed.example"], name), "{listen} {name}");
            }
        }
        assert!(taken("0.0.0.0:80", &[], "any.example"));
        assert!(taken("0.0.0.0:80", &["feed.example"], "feed.example"));
        assert!(taken("0.0.0.0:80", &["feed.example"], "localhost"));
        assert!(!taken("0.0.0.0:80", &["feed.example"], "evil.example"));
    }
}
