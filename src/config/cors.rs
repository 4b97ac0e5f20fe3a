//! The section `[cors]`: cross-origin requests from browsers.

use serde::Deserialize;

/// Cross-origin requests from browsers (`[cors]`).
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cors {
    /// Origins that may call, or `*`. Default none.
    pub origins: Vec<String>,
    /// True if pages that this machine serves may call too. It is no setting: `tidegate dev` on
    /// loopback turns it on.
    #[serde(skip)]
    pub local: bool,
}
