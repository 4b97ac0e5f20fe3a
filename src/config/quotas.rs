//! The section `[quotas]`: bounds on single tenants and single clients.

use serde::Deserialize;

/// Bounds on single tenants and single clients (`[quotas]`). 0 is none.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quotas {
    /// Subscriptions of one tenant. Default 10000.
    pub subscriptions: u32,
    /// Connections of one tenant on this node. Default 5000.
    pub connections: u32,
    /// Handles of one tenant on this node. Default 100000.
    pub handles: u32,
    /// Events that one tenant publishes through this node in a second. Default 1000.
    pub publish_per_second: u32,
    /// Sockets and streams that one tenant opens on this node in a second. Default 100.
    pub connects_per_second: u32,
    /// Other requests of one tenant to this node in a second. Default 200.
    pub requests_per_second: u32,
    /// Credentials that do not stand, from one address (of IPv6, one /64), in a minute. Default 30.
    pub failures_per_minute: u32,
}

impl Quotas {
    /// Bounds on nobody.
    pub const NONE: Self = Self {
        subscriptions: 0,
        connections: 0,
        handles: 0,
        publish_per_second: 0,
        connects_per_second: 0,
        requests_per_second: 0,
        failures_per_minute: 0,
    };
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            subscriptions: 10_000,
            connections: 5_000,
            handles: 100_000,
            publish_per_second: 1_000,
            connects_per_second: 100,
            requests_per_second: 200,
            failures_per_minute: 30,
        }
    }
}
