//! Configuration: one typed value, checked before anything binds.
//!
//! Each setting comes from a flag, else a `TIDEGATE_…` variable, else the TOML file, else the
//! default given here. A setting in a section is the variable `TIDEGATE_SECTION__NAME`, for example
//! `TIDEGATE_SOCKET__PING_INTERVAL=20s`. Durations are text such as `500ms`, `30s`, `7d`.

mod connection;
mod load;
mod settings;
pub(crate) mod uri;
mod web;

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Deserializer};

pub use self::{
    load::{ConfigError, Loaded, variable},
    settings::{Kind, SETTINGS, Setting},
    web::{Origin, host, is_loopback},
};

/// What MongoDB keeps for itself.
const SYSTEM_DATABASES: [&str; 3] = ["admin", "config", "local"];

/// All settings of a node.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The connection string (`--mongodb-uri`). Default `mongodb://127.0.0.1:27017`.
    pub mongodb_uri: String,
    /// The database that holds everything (`--database`). Default: the one in the path of the connection
    /// string, else `tidegate`.
    pub database: String,
    /// Collections of that database that were there before the first start and are really meant
    /// (`--adopt`, repeatable). Default none: a database that holds what others made is refused.
    pub adopt: Vec<String>,
    /// The address to listen on (`--listen`). Default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// Who may call (`--auth`). Default `none`: everyone who can reach the address.
    pub auth: Auth,
    /// Names, besides those of loopback and the address listened on, under which a node may be called that everyone
    /// may call. On an address that is not loopback none means any. Default none.
    pub hosts: Vec<String>,
    /// The origin under which browsers see this service, where a proxy in front rewrites `Host`. Default none.
    pub public_url: String,
    /// Allow `auth = "none"` on an address that is not loopback (`--insecure`). Default false.
    pub insecure: bool,
    /// Apply pending migrations at the start; else refuse to start on them (`--no-migrate`).
    /// Default true.
    pub migrate: bool,
    /// What to log, in `tracing`'s filter language (`--log`). Default `info`.
    pub log: String,
    /// How to log (`--log-format`): `text` or `json`. Default `text`.
    pub log_format: LogFormat,
    /// How long events are kept: the TTL on `events`. Default `7d`.
    #[serde(deserialize_with = "duration")]
    pub retention: Duration,
    /// How long start-up waits for the database. Default `30s`.
    #[serde(deserialize_with = "duration")]
    pub startup_timeout: Duration,
    /// How long a stop may take before what is left is cut. Default `10s`.
    #[serde(deserialize_with = "duration")]
    pub shutdown_timeout: Duration,
    /// Bounds on what is accepted.
    pub limits: Limits,
    /// Sockets.
    pub socket: Socket,
    /// The change stream.
    pub feed: Feed,
    /// This node among others.
    pub node: Node,
    /// Cross-origin requests from browsers.
    pub cors: Cors,
}

/// Who may call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// Everyone who can reach the address.
    None,
}

/// How log lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Bounds on what is accepted (`[limits]`).
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a request's body, except publishing. Default 2 MiB.
    pub body_bytes: usize,
    /// Bytes of a publish request's body. Default 16 MiB.
    pub publish_body_bytes: usize,
    /// Bytes of all bodies that are being read on this node, and of what is made of them. Default 256 MiB.
    pub reading_bytes: usize,
    /// Bytes of all answers that this node has under way. Default 256 MiB.
    pub answering_bytes: usize,
    /// Bodies over 64 KiB whose events are read at the same time. Default 2.
    pub readings: usize,
    /// Requests whose filters are compiled, tried or shown at the same time. Default 2.
    pub filterings: usize,
    /// Searches of the stored events at the same time. Default 4.
    pub searches: usize,
    /// How long such a search may take. Default `5s`.
    #[serde(deserialize_with = "duration")]
    pub search_timeout: Duration,
    /// Bytes of a page; its first item may be larger. Default 8 MiB.
    pub page_bytes: usize,
    /// Subscriptions in one batch. Default 1,000.
    pub batch_items: usize,
    /// Events in one publish request. Default 10,000.
    pub publish_items: usize,
    /// Bytes of one event as BSON. Default 1 MiB.
    pub event_bytes: usize,
    /// Bytes of a filter as BSON. Default 64 KiB.
    pub filter_bytes: usize,
    /// Levels of nesting in a filter. Default 100.
    pub filter_depth: usize,
    /// Clauses in a filter. Default 1,000.
    pub filter_clauses: usize,
    /// Values in one `$in`, `$nin` or `$all`. Default 10,000.
    pub filter_values: usize,
    /// Bytes of `metadata` as BSON. Default 16 KiB.
    pub metadata_bytes: usize,
    /// Characters of a name or an owner. Default 256.
    pub name_chars: usize,
    /// Items on a page at most. Default 1,000.
    pub page_items: usize,
    /// Items on a page where the request does not say. Default 100.
    pub page_items_default: usize,
    /// Subscriptions that a node holds. Default 2,000,000.
    pub subscriptions: usize,
    /// Bytes of their documents, as BSON. Default 1 GiB.
    pub subscriptions_bytes: usize,
    /// Open connections on this node. Default 20,000.
    pub connections: usize,
    /// Open connections of one subscription on this node. Default 10,000.
    pub connections_per_subscription: usize,
    /// Bytes waiting for all connections of this node together; what several wait for counts once.
    /// Default 256 MiB.
    pub waiting_bytes: usize,
    /// TCP connections of this node; 0 takes as many as there are descriptors for. Default 0.
    pub tcp_connections: usize,
    /// TCP connections from one address (of IPv6, one /64); 0 takes seven eighths of all. Default 0.
    pub tcp_connections_per_address: usize,
    /// Bytes of a request's head. Default 16 KiB.
    pub header_bytes: usize,
    /// How long a request's head may take. Default `10s`.
    #[serde(deserialize_with = "duration")]
    pub header_timeout: Duration,
    /// How long a request's body may take. Default `30s`.
    #[serde(deserialize_with = "duration")]
    pub body_timeout: Duration,
    /// How long an answer may wait for its client to take any of it, and longer in all only as far as its client takes
    /// 16 KiB/s. Default `30s`.
    #[serde(deserialize_with = "duration")]
    pub answer_timeout: Duration,
    /// How long an answered write waits for this node's feed to pass it. Default `5s`.
    #[serde(deserialize_with = "duration")]
    pub applied_timeout: Duration,
    /// How long a question waits for this node's router, which is busy where events take it long.
    /// Default `5s`.
    #[serde(deserialize_with = "duration")]
    pub router_timeout: Duration,
    /// How long a request waits for the database. Default `10s`.
    #[serde(deserialize_with = "duration")]
    pub database_timeout: Duration,
    /// How long no member may take writes before the database counts as away, and requests are refused
    /// at once. Default `2s`.
    #[serde(deserialize_with = "duration")]
    pub away_after: Duration,
}

/// Sockets (`[socket]`).
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Socket {
    /// How often a ping is sent. Default `30s`.
    #[serde(deserialize_with = "duration")]
    pub ping_interval: Duration,
    /// How long a pong, or any progress of a write, is awaited. Default `10s`.
    #[serde(deserialize_with = "duration")]
    pub pong_timeout: Duration,
    /// How long last words and the closing handshake may take. Default `5s`.
    #[serde(deserialize_with = "duration")]
    pub close_timeout: Duration,
    /// Over how long a stop ends the connections, evenly; at most half of `shutdown_timeout`, and 0 is
    /// at once. Default `5s`.
    #[serde(deserialize_with = "duration")]
    pub drain: Duration,
    /// Bytes of one message from a client. Default 16 KiB.
    pub message_bytes: usize,
    /// Frames waiting in one outbox. Default 1,024.
    pub outbox_frames: usize,
    /// Bytes waiting in one outbox. Default 1 MiB.
    pub outbox_bytes: usize,
    /// Bytes of the kernel's send buffer of one socket; 0 leaves it to the kernel. Default 0.
    pub send_buffer_bytes: usize,
    /// How long the router waits for a connection that this node is too busy to serve. Default `10s`.
    #[serde(deserialize_with = "duration")]
    pub router_patience: Duration,
}

/// The change stream (`[feed]`).
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Feed {
    /// How long the server holds an idle request for changes: also how soon an idle feed's position
    /// moves. Default `250ms`.
    #[serde(deserialize_with = "duration")]
    pub max_await: Duration,
    /// Bytes of recent changes kept in memory, for clients that were away for a moment. Default
    /// 64 MiB.
    pub window_bytes: usize,
    /// How long recent changes are kept in memory. Default `10m`.
    #[serde(deserialize_with = "duration")]
    pub window_age: Duration,
    /// Change streams that may be open for replays at the same time. Default 2.
    pub replay_streams: usize,
    /// How long a client may wait for a replay to begin. Default `30s`.
    #[serde(deserialize_with = "duration")]
    pub replay_wait: Duration,
    /// How long a replay may take until it is live. Default `10m`.
    #[serde(deserialize_with = "duration")]
    pub replay_timeout: Duration,
    /// How long an acknowledged position may wait to be written, together with others. Default `500ms`.
    #[serde(deserialize_with = "duration")]
    pub ack_delay: Duration,
    /// Batches read ahead of the router. Default 4.
    pub batches_ahead: usize,
    /// First and longest pause between attempts to reopen. Default `50ms`.
    #[serde(deserialize_with = "duration")]
    pub retry_min: Duration,
    /// See `retry_min`. Default `5s`.
    #[serde(deserialize_with = "duration")]
    pub retry_max: Duration,
    /// Behind or cut for longer than this is not ready. Default `10s`.
    #[serde(deserialize_with = "duration")]
    pub ready_lag: Duration,
}

/// This node among others (`[node]`).
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// How often the node writes that it is alive. Default `2s`.
    #[serde(deserialize_with = "duration")]
    pub heartbeat_interval: Duration,
}

/// Cross-origin requests from browsers (`[cors]`).
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cors {
    /// Origins that may call, or `*`. Default none.
    pub origins: Vec<String>,
    /// Whether pages that this machine serves may call too. No setting: `tidegate dev` on loopback has it so.
    #[serde(skip)]
    pub local: bool,
}

/// Times that the largest body or page must go into what all of them may take.
const SHARES: usize = 8;

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
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 2 << 20,
            publish_body_bytes: 16 << 20,
            reading_bytes: 256 << 20,
            answering_bytes: 256 << 20,
            readings: 2,
            filterings: 2,
            searches: 4,
            search_timeout: Duration::from_secs(5),
            page_bytes: 8 << 20,
            batch_items: 1_000,
            publish_items: 10_000,
            event_bytes: 1 << 20,
            filter_bytes: 64 << 10,
            filter_depth: 100,
            filter_clauses: 1_000,
            filter_values: 10_000,
            metadata_bytes: 16 << 10,
            subscriptions: 2_000_000,
            subscriptions_bytes: 1 << 30,
            name_chars: 256,
            page_items: 1_000,
            page_items_default: 100,
            connections: 20_000,
            connections_per_subscription: 10_000,
            waiting_bytes: 256 << 20,
            tcp_connections: 0,
            tcp_connections_per_address: 0,
            header_bytes: 16 << 10,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(30),
            applied_timeout: Duration::from_secs(5),
            router_timeout: Duration::from_secs(5),
            database_timeout: Duration::from_secs(10),
            away_after: Duration::from_secs(2),
        }
    }
}

impl Default for Socket {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            drain: Duration::from_secs(5),
            message_bytes: 16 << 10,
            outbox_frames: 1_024,
            outbox_bytes: 1 << 20,
            send_buffer_bytes: 0,
            router_patience: Duration::from_secs(10),
        }
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            max_await: Duration::from_millis(250),
            window_bytes: 64 << 20,
            window_age: Duration::from_mins(10),
            replay_streams: 2,
            replay_wait: Duration::from_secs(30),
            replay_timeout: Duration::from_mins(10),
            ack_delay: Duration::from_millis(500),
            batches_ahead: 4,
            retry_min: Duration::from_millis(50),
            retry_max: Duration::from_secs(5),
            ready_lag: Duration::from_secs(10),
        }
    }
}

impl Default for Node {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(2),
        }
    }
}

impl Config {
    /// Over how long a stop ends the connections: what is left of its time is for the last of them.
    pub fn drain(&self) -> Duration {
        self.socket.drain.min(self.shutdown_timeout / 2)
    }

    /// The origin under which browsers see this service, where it was told.
    pub fn public_origin(&self) -> Option<Origin> {
        Origin::parse(&self.public_url).ok()
    }

    /// Checks what types cannot say.
    pub fn check(&self) -> Result<(), ConfigError> {
        let refuse = |setting: &str, reason: &str| Err(ConfigError::refused(setting, reason));
        if self.auth == Auth::None && !self.listen.ip().is_loopback() && !self.insecure {
            return refuse(
                "auth",
                "\"none\" on an address that is not loopback lets everyone in; \
                 listen on 127.0.0.1, or pass --insecure if something else guards this address",
            );
        }
        if let Err(reason) = connection::read(&self.mongodb_uri) {
            return refuse("mongodb_uri", &reason);
        }
        let name = &self.database;
        if name.is_empty()
            || name.len() > 63
            || name.contains(['/', '\\', '.', '"', '$', '\0'])
            || name.contains(char::is_whitespace)
        {
            return refuse("database", "is not a name that MongoDB allows");
        }
        if connection::is_system(name) {
            return refuse("database", "is one of MongoDB's own: take another name");
        }
        self.check_web()?;
        for (setting, value, bound, most) in self.pairs() {
            if value > most {
                return refuse(setting, &format!("must not be more than {bound}"));
            }
        }
        Ok(())
    }

    /// Checks the names by which browsers know pages and this service.
    fn check_web(&self) -> Result<(), ConfigError> {
        let origins = self.cors.origins.iter().enumerate();
        for (index, text) in origins.filter(|(_, text)| *text != "*") {
            Origin::parse(text).map_err(|reason| item("cors.origins", index, reason))?;
        }
        for (index, text) in self.hosts.iter().enumerate() {
            host(text).map_err(|reason| item("hosts", index, reason))?;
        }
        if !self.public_url.is_empty() {
            let refuse = |reason| ConfigError::refused("public_url", reason);
            let origin = Origin::parse(&self.public_url).map_err(refuse)?;
            if !origin.is_web() {
                return Err(refuse("is neither http nor https"));
            }
        }
        Ok(())
    }

    /// Settings that another one bounds: name and value, name and value.
    fn pairs(&self) -> [(&str, u128, &str, u128); 9] {
        let (limits, socket, feed) = (&self.limits, &self.socket, &self.feed);
        let span = Duration::as_nanos;
        let size = |size: usize| size as u128;
        [
            (
                "limits.page_items_default",
                size(limits.page_items_default),
                "limits.page_items",
                size(limits.page_items),
            ),
            (
                "limits.body_bytes",
                size(limits.body_bytes),
                "an eighth of limits.reading_bytes",
                size(limits.reading_bytes / SHARES),
            ),
            (
                "limits.publish_body_bytes",
                size(limits.publish_body_bytes),
                "an eighth of limits.reading_bytes",
                size(limits.reading_bytes / SHARES),
            ),
            (
                "limits.page_bytes",
                size(limits.page_bytes),
                "an eighth of limits.answering_bytes",
                size(limits.answering_bytes / SHARES),
            ),
            (
                "limits.search_timeout",
                span(&limits.search_timeout),
                "limits.database_timeout",
                span(&limits.database_timeout),
            ),
            (
                "limits.away_after",
                span(&limits.away_after),
                "limits.database_timeout",
                span(&limits.database_timeout),
            ),
            (
                "socket.pong_timeout",
                span(&socket.pong_timeout),
                "socket.ping_interval",
                span(&socket.ping_interval),
            ),
            (
                "socket.outbox_bytes",
                size(socket.outbox_bytes),
                "limits.waiting_bytes",
                size(limits.waiting_bytes),
            ),
            (
                "feed.retry_min",
                span(&feed.retry_min),
                "feed.retry_max",
                span(&feed.retry_max),
            ),
        ]
    }
}

/// The refusal of one item of a list, which is not quoted.
fn item(setting: &str, index: usize, reason: &str) -> ConfigError {
    ConfigError::refused(setting, format!("item {} {reason}", index + 1))
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests;
