//! The section `[node]`: this node among others.

use std::time::Duration;

use serde::Deserialize;

use super::duration;

/// This node among others (`[node]`).
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// Time between two heartbeats of the node. Default `2s`.
    #[serde(deserialize_with = "duration")]
    pub heartbeat_interval: Duration,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(2),
        }
    }
}
