//! The section `[quotas]`: bounds on single clients.

use serde::Deserialize;

/// Bounds on single clients (`[quotas]`). 0 is none.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quotas {
    /// Credentials that do not stand, from one address (of IPv6, one /64), in a minute. Default 30.
    pub failures_per_minute: u32,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            failures_per_minute: 30,
        }
    }
}
