//! The service as its users meet it: real sockets, a real MongoDB, one database a test.

#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only functions marked as tests for tests, not what they call"
)]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod apart;
mod away;
mod basics;
mod connections;
mod cursors;
mod dear;
mod drain;
mod durable;
mod edge;
mod expiry;
mod feed;
mod framing;
mod handshake;
mod heartbeat;
mod held;
mod hostile;
mod hosts;
mod kit;
mod lag;
mod late;
mod leaving;
mod limits;
mod load;
mod many;
mod nodes;
mod odd_events;
mod places;
mod process;
mod raw;
mod receipts;
mod replay;
mod rights;
mod rough;
mod seams;
mod several;
mod slow;
mod sse;
mod starting;
mod stopping;
mod stored;
mod subprotocols;
mod supervision;
mod teardown;
mod trouble;
mod unread;
mod unreadable;
mod wander;
