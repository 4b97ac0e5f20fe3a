//! The command line through its front door: the binary as a process.

// A test that does not find what it needs has failed.
#![allow(clippy::unwrap_used)]

mod acknowledging;
mod bench;
mod configuration;
mod doctor;
mod key;
mod killed;
mod listen;
mod migrate;
mod node;
mod policy;
mod process;
mod publish;
mod retries;
mod subscription;
#[path = "../support/mod.rs"]
mod support;
mod ticket;
mod token;
mod usage;
mod whoami;
