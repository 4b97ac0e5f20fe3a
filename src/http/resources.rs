//! The resources: one file or folder each, with the handlers of its calls.
//!
//! A handler reads a request into the vocabulary's types, asks the store or the router, and returns the answer. It knows
//! neither the route table nor streams.

pub(crate) mod audit;
pub(crate) mod connections;
pub(crate) mod docs;
pub(crate) mod events;
pub(crate) mod keys;
pub(crate) mod landing;
pub(crate) mod matching;
pub(crate) mod nodes;
pub(crate) mod policies;
pub(crate) mod revocations;
pub(crate) mod service;
pub(crate) mod subscriptions;
pub(crate) mod teardown;
pub(crate) mod tickets;
pub(crate) mod whoami;
