//! Configuration: one typed value, checked before anything binds.
//!
//! Each setting comes from a flag, else a `TIDEGATE_…` variable, else the TOML file, else the
//! default given here. A setting in a section is the variable `TIDEGATE_SECTION__NAME`, for example
//! `TIDEGATE_SOCKET__PING_INTERVAL=20s`. Durations are text such as `500ms`, `30s`, `7d`.

use std::{net::SocketAddr, path::Path, time::Duration};

use config::{Environment, File, FileFormat};
use serde::{Deserialize, Deserializer};

/// All settings of a node.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The connection string (`--mongodb-uri`). Default `mongodb://127.0.0.1:27017`.
    pub mongodb_uri: String,
    /// The database that holds everything (`--database`). Default `tidegate`.
    pub database: String,
    /// The address to listen on (`--listen`). Default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// Who may call (`--auth`). Default `none`: everyone who can reach the address.
    pub auth: Auth,
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
    /// Open connections on this node. Default 20,000.
    pub connections: usize,
    /// Open connections of one subscription on this node. Default 10,000.
    pub connections_per_subscription: usize,
    /// Bytes waiting for all connections of this node together; what several wait for counts once.
    /// Default 256 MiB.
    pub waiting_bytes: usize,
    /// Bytes of a request's head. Default 16 KiB.
    pub header_bytes: usize,
    /// How long a request's head may take. Default `10s`.
    #[serde(deserialize_with = "duration")]
    pub header_timeout: Duration,
    /// How long a request's body may take. Default `30s`.
    #[serde(deserialize_with = "duration")]
    pub body_timeout: Duration,
    /// How long an answered write waits for this node's feed to pass it. Default `5s`.
    #[serde(deserialize_with = "duration")]
    pub applied_timeout: Duration,
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
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mongodb_uri: "mongodb://127.0.0.1:27017".to_owned(),
            database: "tidegate".to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            auth: Auth::None,
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
            batch_items: 1_000,
            publish_items: 10_000,
            event_bytes: 1 << 20,
            filter_bytes: 64 << 10,
            filter_depth: 100,
            filter_clauses: 1_000,
            filter_values: 10_000,
            metadata_bytes: 16 << 10,
            name_chars: 256,
            page_items: 1_000,
            page_items_default: 100,
            connections: 20_000,
            connections_per_subscription: 10_000,
            waiting_bytes: 256 << 20,
            header_bytes: 16 << 10,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            applied_timeout: Duration::from_secs(5),
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

/// Why a configuration was refused: which setting, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file or a variable could not be read or has a wrong type or an unknown name.
    #[error("{0}")]
    Unreadable(#[from] config::ConfigError),
    /// A value is out of bounds.
    #[error("{setting}: {reason}")]
    Refused {
        /// The setting, as in the file (`limits.body_bytes`).
        setting: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl Config {
    /// Reads the file (if any), then the variables, then `flags` (setting and value, as given on
    /// the command line), and checks the whole.
    pub fn load(file: Option<&Path>, flags: &[(&str, String)]) -> Result<Self, ConfigError> {
        let mut builder = config::Config::builder();
        if let Some(path) = file {
            builder = builder.add_source(File::from(path).format(FileFormat::Toml));
        }
        builder = builder.add_source(variables());
        for (setting, value) in flags {
            builder = builder.set_override(*setting, value.as_str())?;
        }
        let config: Self = builder.build()?.try_deserialize()?;
        config.check()?;
        Ok(config)
    }

    /// Over how long a stop ends the connections: what is left of its time is for the last of them.
    pub fn drain(&self) -> Duration {
        self.socket.drain.min(self.shutdown_timeout / 2)
    }

    /// Checks what types cannot say.
    pub fn check(&self) -> Result<(), ConfigError> {
        let refuse = |setting, reason: &str| {
            Err(ConfigError::Refused {
                setting,
                reason: reason.to_owned(),
            })
        };
        if self.auth == Auth::None && !self.listen.ip().is_loopback() && !self.insecure {
            return refuse(
                "auth",
                "\"none\" on an address that is not loopback lets everyone in; \
                 listen on 127.0.0.1, or pass --insecure if something else guards this address",
            );
        }
        if let Err(error) = mongodb::options::ConnectionString::parse(&self.mongodb_uri) {
            return refuse("mongodb_uri", &connection_string_fault(&error));
        }
        let name = &self.database;
        if name.is_empty()
            || name.len() > 63
            || name.contains(['/', '\\', '.', ' ', '"', '$', '\0'])
        {
            return refuse("database", "is not a name that MongoDB allows");
        }
        if self.retention < Duration::from_secs(1) || self.retention.as_secs() > i32::MAX as u64 {
            return refuse("retention", "must be between 1s and 68 years");
        }
        for (setting, value) in [
            ("limits.body_bytes", self.limits.body_bytes),
            ("limits.publish_body_bytes", self.limits.publish_body_bytes),
            ("limits.batch_items", self.limits.batch_items),
            ("limits.publish_items", self.limits.publish_items),
            ("limits.page_items", self.limits.page_items),
            ("limits.page_items_default", self.limits.page_items_default),
            ("limits.connections", self.limits.connections),
            ("limits.waiting_bytes", self.limits.waiting_bytes),
            ("limits.filter_bytes", self.limits.filter_bytes),
            ("limits.header_bytes", self.limits.header_bytes),
            ("socket.message_bytes", self.socket.message_bytes),
            ("socket.outbox_frames", self.socket.outbox_frames),
            ("socket.outbox_bytes", self.socket.outbox_bytes),
            ("feed.batches_ahead", self.feed.batches_ahead),
        ] {
            if value == 0 {
                return refuse(setting, "must be at least 1");
            }
        }
        for (setting, value) in [
            ("socket.ping_interval", self.socket.ping_interval),
            ("socket.pong_timeout", self.socket.pong_timeout),
            ("socket.close_timeout", self.socket.close_timeout),
            ("feed.max_await", self.feed.max_await),
            ("feed.retry_min", self.feed.retry_min),
            ("node.heartbeat_interval", self.node.heartbeat_interval),
        ] {
            if value.is_zero() {
                return refuse(setting, "must be longer than nothing");
            }
        }
        if self.node.heartbeat_interval > Duration::from_hours(1) {
            return refuse("node.heartbeat_interval", "must be an hour at most");
        }
        Ok(())
    }
}

/// The `TIDEGATE_…` variables that are settings of a node. Others with the prefix (such as
/// `TIDEGATE_SERVER`) belong to client commands.
fn variables() -> Environment {
    const NOT_SETTINGS: [&str; 4] = [
        "TIDEGATE_CONFIG",
        "TIDEGATE_SERVER",
        "TIDEGATE_MONGOD",
        "TIDEGATE_CACHE",
    ];
    let settings = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| !NOT_SETTINGS.contains(&name.as_str()) && !is_service_link(name))
        .collect();
    Environment::with_prefix("TIDEGATE")
        .prefix_separator("_")
        .separator("__")
        .list_separator(",")
        .with_list_parse_key("cors.origins")
        .try_parsing(true)
        .ignore_empty(true)
        .source(Some(settings))
}

/// The driver's reason without what it wraps around every error.
fn connection_string_fault(error: &mongodb::error::Error) -> String {
    match error.kind.as_ref() {
        mongodb::error::ErrorKind::InvalidArgument { message, .. } => message.clone(),
        kind => kind.to_string(),
    }
}

/// What Kubernetes puts into every container beside a service named `tidegate`, such as
/// `TIDEGATE_SERVICE_HOST` and `TIDEGATE_PORT_8080_TCP`: not settings, and no spelling errors either.
fn is_service_link(name: &str) -> bool {
    name.starts_with("TIDEGATE_SERVICE_")
        || name == "TIDEGATE_PORT"
        || name.starts_with("TIDEGATE_PORT_")
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn load(toml: &str, flags: &[(&str, String)]) -> Result<Config, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(toml.as_bytes()).unwrap();
        Config::load(Some(file.path()), flags)
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let config = load(
            "database = \"one\"\nlisten = \"127.0.0.1:1\"\n[socket]\nping_interval = \"7s\"\n",
            &[("database", "two".to_owned())],
        )
        .unwrap();
        assert_eq!(config.database, "two");
        assert_eq!(config.listen.port(), 1);
        assert_eq!(config.socket.ping_interval, Duration::from_secs(7));
        assert_eq!(config.limits.batch_items, 1_000);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (toml, named) in [
            ("databse = \"x\"", "databse"),
            ("[socket]\npng = \"1s\"", "png"),
            ("[socket]\nping_interval = \"soon\"", "ping_interval"),
            ("[limits]\nbody_bytes = \"many\"", "body_bytes"),
            ("[limits]\nbatch_items = 0", "limits.batch_items"),
            ("database = \"a/b\"", "database"),
            ("listen = \"0.0.0.0:8080\"", "auth"),
            ("[node]\nheartbeat_interval = \"2h\"", "heartbeat_interval"),
            ("mongodb_uri = \"localhost\"", "mongodb_uri"),
        ] {
            let error = load(toml, &[]).unwrap_err().to_string();
            assert!(error.contains(named), "{toml}: {error}");
        }
        assert!(load("listen = \"0.0.0.0:8080\"\ninsecure = true", &[]).is_ok());
    }
}
