//! The section `[tickets]`: credentials for one connection.

use std::time::Duration;

use serde::Deserialize;

use super::duration;

/// Credentials for one connection (`[tickets]`).
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tickets {
    /// Time for which a ticket can be used. Default `30s`.
    #[serde(deserialize_with = "duration")]
    pub lifetime: Duration,
}

impl Default for Tickets {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(30),
        }
    }
}
