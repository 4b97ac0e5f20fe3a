//! The edge: what stands between a client and the calls.

mod proxies;
mod tls;
