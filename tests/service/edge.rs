//! The edge: what stands between a client and the calls.

mod answers;
mod failures;
mod monitoring;
mod proxies;
mod tls;
