//! Configuration: one typed value, checked before anything binds.
//!
//! Each setting comes from a flag, else a `TIDEGATE_…` variable, else the TOML file, else the
//! default given here. A setting in a section is the variable `TIDEGATE_SECTION__NAME`, for example
//! `TIDEGATE_SOCKET__PING_INTERVAL=20s`. Durations are text with a unit: `500ms`, `30s`, `7d`.

mod audit;
mod browser;
mod check;
pub(crate) mod connection_string;
mod cors;
mod feed;
mod issuers;
mod limits;
mod load;
mod node;
mod origin;
mod proxy;
mod quotas;
mod settings;
mod socket;
#[cfg(test)]
mod tests;
mod tickets;
mod tls;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use serde::{Deserialize, Deserializer};

pub use self::{
    audit::Audit,
    browser::Browser,
    cors::Cors,
    feed::Feed,
    issuers::Issuer,
    limits::Limits,
    load::{ConfigError, Loaded, variable},
    node::Node,
    origin::{Origin, host, is_loopback},
    proxy::{ForwardedHeader, Proxy},
    quotas::Quotas,
    settings::{Kind, SETTINGS, Setting},
    socket::Socket,
    tickets::Tickets,
    tls::Tls,
};

#[cfg(test)]
pub(crate) use self::settings::SCOPES;

/// All settings of a node.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The connection string (`--mongodb-uri`). Default `mongodb://127.0.0.1:27017`.
    pub mongodb_uri: String,
    /// The database that holds everything (`--database`). Default: the one in the path of the
    /// connection string, else `tidegate`.
    pub database: String,
    /// Collections of that database that others made and that this service shall take over
    /// (`--adopt`, repeatable). Default none: a database with collections of others is refused.
    pub adopt: Vec<String>,
    /// The address to listen on (`--listen`). Default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// The callers that are let in (`--auth`). Default `none`: everyone who can reach the address.
    pub auth: Auth,
    /// Host names that requests may use if everyone may call the node, besides those of loopback
    /// and the address listened on. On an address that is not loopback, an empty list allows any
    /// name. Default none.
    pub hosts: Vec<String>,
    /// The origin under which browsers see this service, if a proxy in front rewrites `Host`.
    /// Default none.
    pub public_url: String,
    /// The address on which `/metrics` and `/health` are answered in full, without credentials.
    /// Default none.
    #[serde(deserialize_with = "address_or_none")]
    pub metrics_listen: Option<SocketAddr>,
    /// Allows an address that is not loopback where everyone is let in, or where keys may travel in
    /// the clear (`--insecure`). Default false.
    pub insecure: bool,
    /// True if the start applies pending migrations; else it refuses to start on them
    /// (`--no-migrate`). Default true.
    pub migrate: bool,
    /// The lines to log, in `tracing`'s filter language (`--log`). Default `info`.
    pub log: String,
    /// The form of log lines (`--log-format`): `text` or `json`. Default `text`.
    pub log_format: LogFormat,
    /// The time for which events are kept: the TTL on `events`. Default `7d`.
    #[serde(deserialize_with = "duration")]
    pub retention: Duration,
    /// The time for which start-up waits for the database. Default `30s`.
    #[serde(deserialize_with = "duration")]
    pub startup_timeout: Duration,
    /// The time that a stop may take before it aborts what is left. Default `10s`.
    #[serde(deserialize_with = "duration")]
    pub shutdown_timeout: Duration,
    /// Bounds on what is accepted.
    pub limits: Limits,
    /// Sockets and their outboxes.
    pub socket: Socket,
    /// The change stream, the backlog and replays.
    pub feed: Feed,
    /// This node among others.
    pub node: Node,
    /// Cross-origin requests from browsers.
    pub cors: Cors,
    /// Tokens in cookies.
    pub browser: Browser,
    /// The proxies that say for whom they ask.
    pub proxy: Proxy,
    /// HTTPS spoken by this process.
    pub tls: Tls,
    /// Bounds on single clients.
    pub quotas: Quotas,
    /// The record of who did what to keys, policies and revocations.
    pub audit: Audit,
    /// The issuers of tokens, by name.
    pub issuers: BTreeMap<String, Issuer>,
    /// Credentials for one connection.
    pub tickets: Tickets,
}

/// The callers that are let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// Everyone who can reach the address.
    None,
    /// Those who present a key or a token.
    Required,
}

/// The form of log lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mongodb_uri: "mongodb://127.0.0.1:27017".to_owned(),
            database: "tidegate".to_owned(),
            adopt: Vec::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            auth: Auth::None,
            hosts: Vec::new(),
            public_url: String::new(),
            metrics_listen: None,
            insecure: false,
            migrate: true,
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            retention: Duration::from_hours(7 * 24),
            startup_timeout: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(10),
            limits: Limits::default(),
            socket: Socket::default(),
            feed: Feed::default(),
            node: Node::default(),
            cors: Cors::default(),
            browser: Browser::default(),
            proxy: Proxy::default(),
            tls: Tls::default(),
            quotas: Quotas::default(),
            audit: Audit::default(),
            issuers: BTreeMap::new(),
            tickets: Tickets::default(),
        }
    }
}

impl Config {
    /// Whether only `insecure` allows this: others may reach the address, and everyone is let in, or
    /// keys may travel in the clear.
    pub fn needs_insecure(&self) -> bool {
        let is_private = self.tls.is_on() || !self.proxy.trusted.is_empty();
        let is_guarded = self.auth == Auth::Required && is_private;
        !self.listen.ip().is_loopback() && !is_guarded
    }

    /// Returns the time over which a stop ends the connections. The rest of its time is for the
    /// last of them.
    pub fn drain(&self) -> Duration {
        self.socket.drain.min(self.shutdown_timeout / 2)
    }

    /// Returns the origin under which browsers see this service, if it is set.
    pub fn public_origin(&self) -> Option<Origin> {
        Origin::parse(&self.public_url).ok()
    }
}

fn address_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}
