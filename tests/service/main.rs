//! The service as its users meet it: real sockets, a real MongoDB, one database a test.

#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only functions marked as tests for tests, not what they call"
)]

#[path = "../support/mod.rs"]
mod support;

mod apart;
mod basics;
mod connections;
mod feed;
mod held;
mod hostile;
mod kit;
mod leaving;
mod nodes;
mod raw;
mod replay;
mod rough;
mod sse;
mod stored;
mod subprotocols;
mod teardown;
