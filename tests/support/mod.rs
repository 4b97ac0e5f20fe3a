//! Shared parts of the integration tests. Each test binary uses some of them.

// So none of them uses everything.
// Clippy exempts only functions marked as tests, not their helpers.
#![allow(dead_code, unused_imports, clippy::unwrap_used)]

mod credentials;
pub(crate) mod described;
mod events;
mod mongod;
mod plain;
mod service;
mod socket;

pub(crate) use credentials::{admin_key, key_for, leave_open, with_credential};
pub(crate) use events::{Event, Events};
pub(crate) use mongod::{database_name, options, shared_mongod};
pub(crate) use plain::{Guarded, Plain, free_port};
pub(crate) use service::{DEADLINE, Service};
pub(crate) use socket::{Closed, Socket, read_deep};
