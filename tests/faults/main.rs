//! The promises of the service, kept while everything around it fails.
//!
//! `rig` is the machinery, which `examples/soak` uses for longer runs. Each file beside it is a family of faults.
//! `docs/reliability.md` says how to read it, and what it found.

#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only functions marked as tests for tests, not what they call"
)]

mod rig;
#[path = "../support/mod.rs"]
mod support;

mod suite;

mod audited;
mod checking;
mod collections;
mod commands;
mod database;
mod network;
mod nodes;
mod proxying;
mod refusals;
mod starting;
