//! The table of settings and the values that each may have. The check at start-up and
//! `docs/configuration.md` follow it.

use std::{fmt, net::SocketAddr, time::Duration};

use toml::Value;

/// A setting and the values that it may have.
#[derive(Debug)]
pub struct Setting {
    /// Its name as in the file, with its section (`limits.body_bytes`).
    pub name: &'static str,
    /// The values that it may have.
    pub kind: Kind,
}

/// The values that a setting may have. `Display` writes what the documentation says of them.
#[derive(Debug)]
pub enum Kind {
    /// Text without invisible characters; what the text stands for.
    Text(&'static str),
    /// One of these words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// An IP address and a port.
    Address,
    /// The same, or the empty text.
    AddressOrNone,
    /// Any number of texts; what they stand for.
    List(&'static str),
    /// Any number of these words.
    Words(&'static [&'static str]),
    /// A whole number: the least and the most.
    Number(u64, u64),
    /// A span of time: the shortest and the longest.
    Span(Duration, Duration),
}

use Kind::{Address, AddressOrNone, Flag, List, Number, Span, Text, Word, Words};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const NONE: Duration = Duration::ZERO;
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// A year as `humantime` counts it. MongoDB counts a retention in 31 bits of seconds.
const YEAR: Duration = Duration::from_hours(8_766);

const fn times(n: u32, unit: Duration) -> Duration {
    unit.saturating_mul(n)
}

const fn row(name: &'static str, kind: Kind) -> Setting {
    Setting { name, kind }
}

/// The algorithms of tokens.
const ALGORITHMS: &[&str] = &[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "HS256",
    "HS384", "HS512",
];
/// The scopes that a token may have.
pub(crate) const SCOPES: &[&str] = &[
    "subscriptions:own",
    "subscriptions:read",
    "subscriptions:write",
    "events:read",
    "events:publish",
    "keys:write",
    "metrics",
    "admin",
];
/// The section of an issuer, as rows of the table name it.
const ISSUER: &str = "issuers.NAME.";

/// All settings. `NAME` stands for a name of the operator's choice.
pub const SETTINGS: &[Setting] = &[
    row("mongodb_uri", Text("a connection string")),
    row("database", Text("a name that MongoDB allows")),
    row("adopt", List("names of collections")),
    row("listen", Address),
    row("auth", Word(&["none", "required"])),
    row(
        "hosts",
        List("names or IP addresses, without scheme and port"),
    ),
    row("public_url", Text("SCHEME://HOST or SCHEME://HOST:PORT")),
    row("metrics_listen", AddressOrNone),
    row("insecure", Flag),
    row("migrate", Flag),
    row("log", Text("levels by module")),
    row("log_format", Word(&["text", "json"])),
    row("retention", Span(SECOND, times(50, YEAR))),
    row("startup_timeout", Span(times(100, MILLISECOND), DAY)),
    row("shutdown_timeout", Span(times(100, MILLISECOND), DAY)),
    row("limits.body_bytes", Number(KIB, 64 * MIB)),
    row("limits.publish_body_bytes", Number(KIB, 256 * MIB)),
    row("limits.reading_bytes", Number(8 * KIB, 64 * GIB)),
    row("limits.answering_bytes", Number(8 * KIB, 64 * GIB)),
    row("limits.readings", Number(1, 1_000)),
    row("limits.filterings", Number(1, 1_000)),
    row("limits.searches", Number(1, 1_000)),
    row("limits.search_timeout", Span(times(10, MILLISECOND), HOUR)),
    row("limits.page_bytes", Number(KIB, 256 * MIB)),
    row("limits.batch_items", Number(1, 10_000)),
    row("limits.publish_items", Number(1, 100_000)),
    row("limits.event_bytes", Number(KIB, 15 * MIB)),
    // At most the filters' own bounds (`filter::Limits`).
    row("limits.filter_bytes", Number(64, MIB)),
    row("limits.filter_depth", Number(1, 200)),
    row("limits.filter_clauses", Number(1, 2_000)),
    row("limits.filter_values", Number(1, 50_000)),
    // A subscription's document has 4 MiB at most.
    row("limits.metadata_bytes", Number(5, MIB)),
    row("limits.name_chars", Number(1, 4_096)),
    row("limits.page_items", Number(1, 10_000)),
    row("limits.page_items_default", Number(1, 10_000)),
    row("limits.subscriptions", Number(1, 100_000_000)),
    row("limits.subscriptions_bytes", Number(MIB, 64 * GIB)),
    row("limits.credentials_bytes", Number(MIB, 16 * GIB)),
    row("limits.connections", Number(1, 1_000_000)),
    row("limits.connections_per_subscription", Number(1, 1_000_000)),
    row("limits.handles", Number(1, 100_000_000)),
    row("limits.adhoc", Number(1, 100_000_000)),
    row("limits.tcp_connections", Number(0, 1_000_000)),
    row("limits.tcp_connections_per_address", Number(0, 1_000_000)),
    row("limits.waiting_bytes", Number(4 * KIB, 64 * GIB)),
    // hyper takes no less.
    row("limits.header_bytes", Number(8 * KIB, MIB)),
    row("limits.header_timeout", Span(times(100, MILLISECOND), HOUR)),
    row("limits.body_timeout", Span(times(100, MILLISECOND), HOUR)),
    row("limits.answer_timeout", Span(times(100, MILLISECOND), HOUR)),
    row("limits.applied_timeout", Span(NONE, HOUR)),
    row("limits.router_timeout", Span(times(100, MILLISECOND), HOUR)),
    row(
        "limits.database_timeout",
        Span(times(100, MILLISECOND), HOUR),
    ),
    row("limits.away_after", Span(times(100, MILLISECOND), HOUR)),
    row("socket.ping_interval", Span(times(100, MILLISECOND), HOUR)),
    row("socket.pong_timeout", Span(times(100, MILLISECOND), HOUR)),
    row("socket.close_timeout", Span(times(10, MILLISECOND), HOUR)),
    row("socket.drain", Span(NONE, HOUR)),
    row("socket.message_bytes", Number(256, 16 * MIB)),
    row("socket.outbox_frames", Number(1, 1_000_000)),
    row("socket.outbox_bytes", Number(4 * KIB, GIB)),
    row("socket.send_buffer_bytes", Number(0, GIB)),
    row("socket.router_patience", Span(NONE, HOUR)),
    row("socket.handles", Number(1, 10_000)),
    row("socket.adhoc", Flag),
    row("socket.adhoc_handles", Number(1, 10_000)),
    row("socket.items", Number(1, 10_000)),
    row("socket.subscribes_per_second", Number(1, 1_000_000)),
    row("socket.subscribe_burst", Number(1, 1_000_000)),
    row("socket.many_message_bytes", Number(256, 16 * MIB)),
    row(
        "socket.first_subscribe",
        Span(times(100, MILLISECOND), HOUR),
    ),
    row("feed.max_await", Span(MILLISECOND, MINUTE)),
    row("feed.window_bytes", Number(0, 64 * GIB)),
    row("feed.window_age", Span(NONE, DAY)),
    // Each stream keeps one connection to the database busy.
    row("feed.replay_streams", Number(1, 32)),
    row("feed.replay_wait", Span(times(100, MILLISECOND), HOUR)),
    row("feed.replay_timeout", Span(SECOND, DAY)),
    row("feed.ack_delay", Span(NONE, HOUR)),
    row("feed.batches_ahead", Number(1, 64)),
    row("feed.retry_min", Span(MILLISECOND, MINUTE)),
    row("feed.retry_max", Span(MILLISECOND, HOUR)),
    row("feed.ready_lag", Span(times(100, MILLISECOND), HOUR)),
    row(
        "node.heartbeat_interval",
        Span(times(10, MILLISECOND), HOUR),
    ),
    row("cors.origins", List("origins (SCHEME://HOST:PORT), or *")),
    row(
        "browser.cookie",
        Text("a name that begins with __Host- or __Secure-"),
    ),
    row("proxy.trusted", List("networks (10.0.0.0/8) or addresses")),
    row("proxy.header", Word(&["x-forwarded-for", "forwarded"])),
    row("tls.certificate", Text("a PEM file")),
    row("tls.key", Text("a PEM file")),
    row("tls.client_ca", Text("a PEM file")),
    row("quotas.subscriptions", Number(0, 1_000_000_000)),
    row("quotas.connections", Number(0, 1_000_000_000)),
    row("quotas.handles", Number(0, 1_000_000_000)),
    row("quotas.publish_per_second", Number(0, 1_000_000)),
    row("quotas.connects_per_second", Number(0, 1_000_000)),
    row("quotas.requests_per_second", Number(0, 1_000_000)),
    row("quotas.failures_per_minute", Number(0, 1_000_000)),
    row("audit.retention", Span(SECOND, times(50, YEAR))),
    row("issuers.NAME.issuer", Text("a text")),
    row("issuers.NAME.audience", List("texts")),
    row(
        "issuers.NAME.jwks_url",
        Text("an https address, or http on loopback"),
    ),
    row("issuers.NAME.keys_file", Text("a path")),
    row("issuers.NAME.secret_file", Text("a path")),
    row("issuers.NAME.algorithms", Words(ALGORITHMS)),
    row("issuers.NAME.typ", Text("a media type")),
    row("issuers.NAME.tenant_claim", Text("the name of a claim")),
    row("issuers.NAME.tenant", Text("a tenant")),
    row("issuers.NAME.scope_claim", Text("the name of a claim")),
    row("issuers.NAME.scopes", Words(SCOPES)),
    row("issuers.NAME.default_scopes", Words(SCOPES)),
    row("issuers.NAME.policy", Text("the id of a policy")),
    row("issuers.NAME.admin", Flag),
    row("issuers.NAME.leeway", Span(NONE, times(5, MINUTE))),
    row("issuers.NAME.max_lifetime", Span(SECOND, YEAR)),
    row("issuers.NAME.jwks_refresh", Span(MINUTE, HOUR)),
    row("issuers.NAME.jwks_stale", Span(MINUTE, times(30, DAY))),
    row("tickets.lifetime", Span(SECOND, HOUR)),
];

impl Setting {
    /// Finds the setting of this name.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        let mut settings = SETTINGS.iter();
        let Some((_, inner)) = of_issuer(name) else {
            return settings.find(|setting| setting.name == name);
        };
        settings.find(|setting| setting.name.strip_prefix(ISSUER) == Some(inner))
    }

    /// Parses the text of a variable or a flag. Text that does not parse stays text, for
    /// [`Setting::check`] to refuse.
    pub(super) fn read(&self, text: &str) -> Value {
        let read = match self.kind {
            Number(..) => text.parse().ok().map(Value::Integer),
            Flag => flag(text).map(Value::Boolean),
            List(_) | Words(_) => {
                let items = text.split(',').map(str::trim);
                Some(
                    items
                        .filter(|item| !item.is_empty())
                        .collect::<Vec<_>>()
                        .into(),
                )
            }
            _ => None,
        };
        read.unwrap_or_else(|| text.into())
    }

    /// Checks a value. The error says what the setting may be, and never quotes the value.
    pub(super) fn check(&self, value: &Value) -> Result<(), String> {
        let text = value.as_str();
        let fits = match self.kind {
            Text(_) => text.is_some_and(is_plain),
            Word(words) => text.is_some_and(|text| words.contains(&text)),
            Flag => value.is_bool(),
            Address => text.is_some_and(is_address),
            AddressOrNone => text.is_some_and(|text| text.is_empty() || is_address(text)),
            List(_) => {
                let plain = |item: &Value| item.as_str().is_some_and(is_plain);
                value
                    .as_array()
                    .is_some_and(|items| items.iter().all(plain))
            }
            Words(words) => {
                let known = |item: &Value| item.as_str().is_some_and(|item| words.contains(&item));
                value
                    .as_array()
                    .is_some_and(|items| items.iter().all(known))
            }
            Number(from, to) => {
                let number = value.as_integer().and_then(|number| number.try_into().ok());
                number.is_some_and(|number| (from..=to).contains(&number))
            }
            Span(from, to) => {
                let span = text.and_then(|text| humantime::parse_duration(text).ok());
                span.is_some_and(|span| (from..=to).contains(&span))
            }
        };
        match (fits, &self.kind) {
            (true, _) => Ok(()),
            (false, Number(..)) => Err(format!("must be a whole number from {}", self.kind)),
            (false, Span(..)) => Err(format!("must be a span of time from {}", self.kind)),
            (false, Text(_)) => Err(format!(
                "must be {}, without control characters and other invisible ones",
                self.kind
            )),
            (false, kind) => Err(format!("must be {kind}")),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Text(what) | List(what) => f.write_str(what),
            Word(words) => f.write_str(&words.join(" or ")),
            Words(words) => write!(f, "a list of {}", words.join(", ")),
            Flag => f.write_str("true or false"),
            Address => f.write_str("IP:PORT"),
            AddressOrNone => f.write_str("IP:PORT or nothing"),
            Number(from, to) => write!(f, "{from} to {to}"),
            Span(from, to) => {
                let text = humantime::format_duration;
                write!(f, "{} to {}", text(*from), text(*to))
            }
        }
    }
}

/// Splits the name of an issuer's setting: the issuer's name, and the setting in its section.
fn of_issuer(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("issuers.")?.split_once('.')
}

/// Whether no character ends a line, drives a terminal, or makes another name look the same.
fn is_plain(text: &str) -> bool {
    let unseen = |c: char| matches!(c, '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}');
    !text.contains(|c: char| c.is_control() || unseen(c))
}

fn is_address(text: &str) -> bool {
    text.parse::<SocketAddr>().is_ok()
}

fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}
