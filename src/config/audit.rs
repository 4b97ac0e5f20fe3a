//! The section `[audit]`: the record of who did what to keys, policies and revocations.

use std::time::Duration;

use serde::Deserialize;

use super::duration;

/// The record of who did what to keys, policies and revocations (`[audit]`).
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// The time for which entries are kept: the TTL on `audit`. Default `90d`.
    #[serde(deserialize_with = "duration")]
    pub retention: Duration,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            retention: Duration::from_hours(90 * 24),
        }
    }
}
