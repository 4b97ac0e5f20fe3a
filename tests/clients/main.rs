//! The clients of others on a real node: those that people have, behind what stands between them and the service.
//!
//! `tests/clients/install` brings them. A test whose clients are not here says so and passes, unless
//! `TEST_TIDEGATE_CLIENTS=required`. Each client is a small script that prints what it sees as lines of JSON; the judge
//! is here.

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
