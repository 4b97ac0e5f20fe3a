//! The address of a request's client, which may be behind proxies.
//!
//! Anybody can write a header. So a proxy is believed only if it is one of the trusted peers, and of the addresses that it
//! names, the rightmost one that is not a trusted proxy's is the client's: what stands left of it is the client's own word.
//! The address bounds what a client may do. It never says who the client is.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use axum::{
    extract::Request,
    http::{Extensions, HeaderMap, HeaderName, HeaderValue, header},
};
use ipnet::IpNet;

use super::arrival::Arrival;
use crate::config::{self, ForwardedHeader};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of a request's client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ClientAddress {
    ip: IpAddr,
    /// `None` behind a proxy: the port is the proxy's affair.
    port: Option<u16>,
    /// True if it is a proxy's, because the client's cannot be read.
    stands_in: bool,
}

impl ClientAddress {
    /// Returns the address of the client of a request with these extensions; `None` if it did not come over a TCP connection
    /// of this node.
    pub(crate) fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get().copied()
    }

    /// Returns the IP address, an IPv4 one as such.
    pub(crate) fn ip(self) -> IpAddr {
        self.ip
    }

    /// Whether the client is in one of these networks. A client whose address cannot be read is in none.
    pub(crate) fn is_in(self, networks: &[IpNet]) -> bool {
        let contains = |network: &IpNet| network.contains(&self.ip);
        !self.stands_in && networks.iter().any(contains)
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

impl From<SocketAddr> for ClientAddress {
    fn from(peer: SocketAddr) -> Self {
        Self {
            ip: peer.ip().to_canonical(),
            port: Some(peer.port()),
            stands_in: false,
        }
    }
}

/// Returns the address that counts for limits on one address. For IPv6 it is the network: a single host has all its addresses.
pub(crate) fn counted_address(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// A header of a trusted proxy that names no address where one is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unusable;

/// The proxies that are believed.
#[derive(Debug)]
pub(crate) struct Proxies {
    trusted: Vec<IpNet>,
    header: ForwardedHeader,
}

impl Proxies {
    /// Returns the proxies in these settings, which were checked.
    pub(crate) fn new(settings: &config::Proxy) -> Self {
        Self {
            trusted: settings.networks(),
            header: settings.header,
        }
    }

    /// Whether a peer with this address is believed.
    pub(crate) fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|known| known.contains(&address))
    }

    /// Notes the address of the client for [`ClientAddress::of`]. Where the header of a trusted proxy cannot be used, it is
    /// the proxy's own.
    pub(crate) fn note_client(&self, request: &mut Request) -> Result<(), Unusable> {
        let arrival = request.extensions().get::<Arrival>();
        let Some(&Arrival { peer, .. }) = arrival else {
            return Ok(());
        };
        let named = if self.trust(peer.ip()) {
            self.named(request.headers())
        } else {
            Ok(None)
        };
        let mut client = ClientAddress::from(peer);
        match named {
            Ok(None) => {}
            Ok(Some(ip)) => (client.ip, client.port) = (ip, None),
            Err(Unusable) => client.stands_in = true,
        }
        request.extensions_mut().insert(client);
        named.map(drop)
    }

    /// Returns the rightmost address that is not a proxy's, or the leftmost of all: then a proxy itself asks. `None` if the
    /// header is absent.
    fn named(&self, headers: &HeaderMap) -> Result<Option<IpAddr>, Unusable> {
        let name = match self.header {
            ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
            ForwardedHeader::Forwarded => header::FORWARDED,
        };
        let mut last = None;
        let lines: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
        for line in lines.into_iter().rev() {
            let line = String::from_utf8_lossy(line.as_bytes());
            let elements = match self.header {
                ForwardedHeader::XForwardedFor => line.split(',').collect(),
                ForwardedHeader::Forwarded => split(&line, b','),
            };
            for element in elements.into_iter().rev() {
                let node = match self.header {
                    ForwardedHeader::XForwardedFor => element.trim(),
                    ForwardedHeader::Forwarded => forwarded_for(element).ok_or(Unusable)?,
                };
                let ip = address(node).ok_or(Unusable)?.to_canonical();
                if !self.trust(ip) {
                    return Ok(Some(ip));
                }
                last = Some(ip);
            }
        }
        Ok(last)
    }
}

/// Splits a text at a character, except inside quotes.
fn split(text: &str, at: u8) -> Vec<&str> {
    let (mut parts, mut from) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == at && !quoted => {
                parts.push(&text[from..index]);
                from = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

/// Returns the node of the one parameter `for` of an element (RFC 7239, section 4), without quotes.
fn forwarded_for(element: &str) -> Option<&str> {
    let mut found = None;
    for pair in split(element, b';') {
        let Some((name, value)) = pair.split_once('=') else {
            continue;
        };
        if name.trim().eq_ignore_ascii_case("for") {
            let value = value.trim();
            let quoted = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
            if found.replace(quoted.unwrap_or(value)).is_some() {
                return None;
            }
        }
    }
    found
}

/// Reads an address with or without a port. With a port, IPv6 stands in brackets.
fn address(node: &str) -> Option<IpAddr> {
    if let Ok(ip) = node.parse() {
        return Some(ip);
    }
    if let Ok(socket) = node.parse::<SocketAddr>() {
        return Some(socket.ip());
    }
    let bare = node.strip_prefix('[')?.strip_suffix(']')?;
    bare.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use std::sync::Arc;

    /// Returns the client that a peer's request has, as it is shown, and whether its header could be used.
    fn client(header: ForwardedHeader, peer: &str, lines: &[&str]) -> (String, bool) {
        let proxies = Proxies::new(&config::Proxy {
            trusted: ["10.0.0.0/8", "fd00::1"].map(str::to_owned).into(),
            header,
        });
        let name = match header {
            ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
            ForwardedHeader::Forwarded => header::FORWARDED,
        };
        let mut request = Request::new(Body::empty());
        for line in lines {
            let line = HeaderValue::from_bytes(line.as_bytes()).unwrap();
            request.headers_mut().append(&name, line);
        }
        let peer: SocketAddr = peer.parse().unwrap();
        request.extensions_mut().insert(Arrival {
            peer,
            local: None,
            gauge: Arc::default(),
        });
        let usable = proxies.note_client(&mut request).is_ok();
        let client = ClientAddress::of(request.extensions()).unwrap();
        let own: IpNet = client.ip.into();
        assert_eq!(client.is_in(&[own]), usable);
        (client.to_string(), usable)
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxys_is_the_clients() {
        let header = ForwardedHeader::XForwardedFor;
        for (lines, shown) in [
            (&["192.0.2.1"][..], "192.0.2.1"),
            (&["198.51.100.9, 192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.1, 10.0.0.2 ,10.0.0.3"], "192.0.2.1"),
            (&["192.0.2.1", "10.0.0.2"], "192.0.2.1"),
            (&["192.0.2.1:4711"], "192.0.2.1"),
            (&["2001:db8::7"], "2001:db8::7"),
            (&["[2001:db8::7]:4711"], "2001:db8::7"),
            (&["[2001:db8::7]"], "2001:db8::7"),
            (&["192.0.2.1, fd00::1"], "192.0.2.1"),
            (&["::ffff:192.0.2.1"], "192.0.2.1"),
            // Nobody but proxies: the first of them asks.
            (&["10.0.0.9, 10.0.0.2"], "10.0.0.9"),
            // The client's own word is not even read.
            (&["\u{fc}, \", 192.0.2.1"], "192.0.2.1"),
            (&["x", "192.0.2.1"], "192.0.2.1"),
        ] {
            let found = client(header, "10.0.0.1:5", lines);
            assert_eq!(found, (shown.to_owned(), true), "{lines:?}");
            assert_eq!(client(header, "[::ffff:10.0.0.1]:5", lines), found);
            let own = ("198.51.100.1:5".to_owned(), true);
            assert_eq!(client(header, "198.51.100.1:5", lines), own, "{lines:?}");
        }
        let absent = ("10.0.0.1:5".to_owned(), true);
        assert_eq!(client(header, "10.0.0.1:5", &[]), absent);
    }

    #[test]
    fn a_header_that_names_no_address_leaves_the_proxys() {
        for (header, lines) in [
            (ForwardedHeader::XForwardedFor, &[""][..]),
            (ForwardedHeader::XForwardedFor, &["unknown"]),
            (ForwardedHeader::XForwardedFor, &["192.0.2.1, "]),
            (ForwardedHeader::XForwardedFor, &["192.0.2.1, 10.0.0.999"]),
            (ForwardedHeader::XForwardedFor, &["192.0.2.1", "x"]),
            (ForwardedHeader::Forwarded, &["for=unknown"]),
            (ForwardedHeader::Forwarded, &["for=_hidden"]),
            (ForwardedHeader::Forwarded, &["by=192.0.2.1"]),
            (ForwardedHeader::Forwarded, &["for=192.0.2.1;for=192.0.2.2"]),
            (ForwardedHeader::Forwarded, &["for=2001:db8::7:4711x"]),
            (ForwardedHeader::Forwarded, &["for=\"192.0.2.1"]),
        ] {
            let own = ("10.0.0.1:5".to_owned(), false);
            assert_eq!(client(header, "10.0.0.1:5", lines), own, "{lines:?}");
        }
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        for (lines, shown) in [
            (&["for=192.0.2.1"][..], "192.0.2.1"),
            (&["For=\"[2001:db8::7]:4711\";proto=https"], "2001:db8::7"),
            (&["for=192.0.2.1;by=10.0.0.1, for=10.0.0.2"], "192.0.2.1"),
            (
                &["for=\"x,for=192.0.2.9\", proto=http; for=192.0.2.1"],
                "192.0.2.1",
            ),
            (&["for=192.0.2.9;x=\"a\\\",\", for=192.0.2.1"], "192.0.2.1"),
            (&["for=192.0.2.1", "for=10.0.0.2"], "192.0.2.1"),
        ] {
            let found = client(ForwardedHeader::Forwarded, "10.0.0.1:5", lines);
            assert_eq!(found, (shown.to_owned(), true), "{lines:?}");
        }
    }

    #[test]
    fn one_host_is_one_address() {
        for (address, counts_as) in [
            ("10.1.2.3", "10.1.2.3"),
            ("::ffff:10.1.2.3", "10.1.2.3"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ] {
            let counted = counted_address(address.parse().unwrap());
            assert_eq!(counted, counts_as.parse::<IpAddr>().unwrap());
        }
    }
}
