//! The command line, through its front door: the binary as a process.

// A test that finds things otherwise than it needs them has failed.
#![allow(clippy::unwrap_used)]

mod configuration;
mod node;
mod retries;
mod support;
mod usage;
