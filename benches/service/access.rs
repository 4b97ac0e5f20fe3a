//! The price of credentials: a node that asks for them beside one that does not, in turn, in one run.

pub(crate) mod connect;
pub(crate) mod distinct;
pub(crate) mod fanout;
pub(crate) mod keys;
pub(crate) mod latency;
mod sides;

/// The name of the side without credentials.
const NONE: &str = "auth = none";
