//! The machinery of the fault suite. The tests beside this folder and `examples/soak` use it.
//!
//! A [`World`] is a replica set of three and some nodes of the service, with a [`proxy`] on every way between them.
//! Clients, publishers and writers run in it and [`record`] what they did. Meanwhile [`faults`] are injected, and
//! keys of the [`keyring`] are revoked. At the end the [`truth`] is read from the database's own log, and the
//! [`checker`] holds the records against it.

// Each user takes a part of it. Clippy exempts only functions marked as tests.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod checker;
pub(crate) mod clients;
pub(crate) mod course;
pub(crate) mod faults;
pub(crate) mod figures;
pub(crate) mod keyring;
pub(crate) mod life;
pub(crate) mod many;
pub(crate) mod node;
pub(crate) mod proxy;
pub(crate) mod publishers;
pub(crate) mod record;
pub(crate) mod trial;
pub(crate) mod truth;
pub(crate) mod unread;
pub(crate) mod world;
pub(crate) mod writers;
