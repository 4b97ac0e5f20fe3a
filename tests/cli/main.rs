//! The command line, through its front door: the binary as a process.

mod configuration;
mod node;
mod retries;
mod support;
mod usage;
