//! What the integration tests share. Each test file takes what it needs.

// Every test binary compiles all of this and uses a part of it.
// Clippy takes only functions marked as tests for tests, not what they call.
#![allow(dead_code, unused_imports, clippy::unwrap_used)]

mod events;
mod mongod;
mod plain;
mod service;
mod socket;

pub(crate) use events::{Event, Events};
pub(crate) use mongod::{database_name, options, shared_mongod};
pub(crate) use plain::{Guarded, Plain, free_port};
pub(crate) use service::{DEADLINE, Service};
pub(crate) use socket::{Closed, Socket};
