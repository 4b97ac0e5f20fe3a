//! The edge: what stands between a client and the calls.

mod answers;
mod monitoring;
mod proxies;
mod tls;
