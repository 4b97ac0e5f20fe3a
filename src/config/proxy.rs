//! The section `[proxy]`: the proxies that say for whom they ask.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

/// The proxies that say for whom they ask (`[proxy]`).
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Proxy {
    /// Networks of the proxies that are believed. Default none.
    pub trusted: Vec<String>,
    /// The header in which they name the client. Default `x-forwarded-for`.
    pub header: ForwardedHeader,
}

/// The header in which proxies name the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, which most proxies write.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl Proxy {
    /// Returns the networks of the proxies, which were checked.
    pub fn networks(&self) -> Vec<IpNet> {
        let networks = self.trusted.iter();
        networks.filter_map(|text| network(text).ok()).collect()
    }
}

/// Reads a network, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, &'static str> {
    let address = |text: &str| text.parse::<IpAddr>().ok().map(IpNet::from);
    let network = text.parse().ok().or_else(|| address(text));
    let network = network.ok_or("is neither a network (10.0.0.0/8) nor an address")?;
    if network.prefix_len() == 0 {
        return Err("is every address, so that everybody could claim to be anybody");
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_not_everything() {
        for (text, read) in [
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("10.1.2.3", Some("10.1.2.3/32")),
            ("fd00::/8", Some("fd00::/8")),
            ("::1", Some("::1/128")),
            ("0.0.0.0/0", None),
            ("::/0", None),
            ("10.0.0.0/33", None),
            ("10.0.0", None),
            ("proxy.example", None),
            ("", None),
        ] {
            let network = network(text).ok().map(|network| network.to_string());
            assert_eq!(network.as_deref(), read, "{text}");
        }
    }
}
