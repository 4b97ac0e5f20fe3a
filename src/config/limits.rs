//! The section `[limits]`: bounds on what a node accepts.

use std::time::Duration;

use serde::Deserialize;

use super::duration;

/// Bounds on what a node accepts (`[limits]`).
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a request's body, except when publishing. Default 2 MiB.
    pub body_bytes: usize,
    /// Bytes of a publish request's body. Default 16 MiB.
    pub publish_body_bytes: usize,
    /// Bytes of all bodies that this node is reading, and of what is parsed from them. Default 256
    /// MiB.
    pub reading_bytes: usize,
    /// Bytes of all answers under way on this node. Default 256 MiB.
    pub answering_bytes: usize,
    /// Bodies over 64 KiB whose events are parsed at the same time. Default 2.
    pub readings: usize,
    /// Requests whose filters are compiled, tried or shown at the same time. Default 2.
    pub filterings: usize,
    /// Searches of the stored events at the same time. Default 4.
    pub searches: usize,
    /// Time that such a search may take. Default `5s`.
    #[serde(deserialize_with = "duration")]
    pub search_timeout: Duration,
    /// Bytes of a page. Its first item may be larger. Default 8 MiB.
    pub page_bytes: usize,
    /// Subscriptions in one batch. Default 1,000.
    pub batch_items: usize,
    /// Events in one publish request. Default 10,000.
    pub publish_items: usize,
    /// Bytes of one event, as BSON. Default 1 MiB.
    pub event_bytes: usize,
    /// Bytes of a filter, as BSON. Default 64 KiB.
    pub filter_bytes: usize,
    /// Levels of nesting in a filter. Default 100.
    pub filter_depth: usize,
    /// Clauses in a filter. Default 1,000.
    pub filter_clauses: usize,
    /// Values in one `$in`, `$nin` or `$all`. Default 10,000.
    pub filter_values: usize,
    /// Bytes of `metadata`, as BSON. Default 16 KiB.
    pub metadata_bytes: usize,
    /// Characters of a name or an owner. Default 256.
    pub name_chars: usize,
    /// The most items on a page. Default 1,000.
    pub page_items: usize,
    /// Items on a page if the request does not say. Default 100.
    pub page_items_default: usize,
    /// Subscriptions that a node holds. Default 2,000,000.
    pub subscriptions: usize,
    /// Bytes of the subscriptions' documents, as BSON. Default 1 GiB.
    pub subscriptions_bytes: usize,
    /// Bytes of the documents of keys that a node holds; policies and revocations have as much each. Default 128 MiB.
    pub credentials_bytes: usize,
    /// Open connections on this node. Default 20,000.
    pub connections: usize,
    /// Open connections of one subscription on this node. Default 10,000.
    pub connections_per_subscription: usize,
    /// Open handles of all sockets for many subscriptions of this node, and their other connections. Default 1,000,000.
    pub handles: usize,
    /// Handles with filters that clients bring, of all sockets of this node. Default 100,000.
    pub adhoc: usize,
    /// Bytes waiting for all connections of this node together. What several wait for counts once.
    /// Default 256 MiB.
    pub waiting_bytes: usize,
    /// TCP connections of this node. 0 means as many as the file descriptors allow. Default 0.
    pub tcp_connections: usize,
    /// TCP connections from one address (of IPv6, one /64). 0 means seven eighths of all. Default
    /// 0.
    pub tcp_connections_per_address: usize,
    /// Bytes of a request's head. Default 16 KiB.
    pub header_bytes: usize,
    /// Time that a request's head may take to arrive, and that a connection may idle between two
    /// requests. Default `10s`.
    #[serde(deserialize_with = "duration")]
    pub header_timeout: Duration,
    /// Time that a request's body may take to arrive. Default `30s`.
    #[serde(deserialize_with = "duration")]
    pub body_timeout: Duration,
    /// Time that an answer may wait for its client to take any of it. In all it may take longer
    /// only while its client takes 16 KiB/s. Default `30s`.
    #[serde(deserialize_with = "duration")]
    pub answer_timeout: Duration,
    /// Time that the answer to a write waits for this node's feed to pass it. Default `5s`.
    #[serde(deserialize_with = "duration")]
    pub applied_timeout: Duration,
    /// Time that a request waits for this node's router. Default `5s`.
    #[serde(deserialize_with = "duration")]
    pub router_timeout: Duration,
    /// Time that a request waits for the database. Default `10s`.
    #[serde(deserialize_with = "duration")]
    pub database_timeout: Duration,
    /// Time without a member that takes writes after which the database counts as away. From then
    /// on requests are refused at once. Default `2s`.
    #[serde(deserialize_with = "duration")]
    pub away_after: Duration,
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
            credentials_bytes: 128 << 20,
            name_chars: 256,
            page_items: 1_000,
            page_items_default: 100,
            connections: 20_000,
            connections_per_subscription: 10_000,
            handles: 1_000_000,
            adhoc: 100_000,
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
