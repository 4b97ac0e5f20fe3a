//! Clients that people use, on a real node, behind the proxies that people run.
//!
//! `tests/clients/install` installs them. A test whose clients are missing says so and passes, unless
//! `TEST_TIDEGATE_CLIENTS=required`. Each client is a small script that prints what it sees as lines of JSON; the
//! judging is done here.

#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only functions marked as tests for tests, not what they call"
)]

#[path = "../support/mod.rs"]
mod support;

mod client;
mod cloudevents;
mod compressed;
mod door;
mod front;
mod installed;
mod interrupted;
mod tickets;
