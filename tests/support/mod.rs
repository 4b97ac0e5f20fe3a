//! What the integration tests share. Each test file takes what it needs.

// Every test binary compiles all of this and uses a part of it.
#![allow(dead_code, unused_imports)]

mod events;
mod mongod;
mod service;
mod socket;

pub(crate) use events::{Event, Events};
pub(crate) use mongod::{database_name, options, shared_mongod};
pub(crate) use service::{DEADLINE, Service};
pub(crate) use socket::{Closed, Socket};
