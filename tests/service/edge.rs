//! The edge: what stands between a client and the calls.

mod monitoring;
mod proxies;
mod tls;
