//! The code that reads other people's bytes: the filter language, and the vocabulary (cursors, messages, events).
//!
//! It is pure, so it is compiled here from its own sources (`filter.rs`, `filter/` and the others are links),
//! without the service around it: a fuzzer instruments everything that it links.

#![allow(
    dead_code,
    unused_imports,
    reason = "the service uses more of the sources than the fuzzer"
)]

pub mod budget;
pub mod cloudevents;
pub mod event;
pub mod extjson;
pub mod filter;
pub mod position;
pub mod protocol;
