//! What reads what others wrote: the filter language, and the vocabulary (cursors, messages, events). It is
//! pure, so it is compiled here from its own sources (`filter.rs`, `filter/` and the others are links),
//! without the service around it: a fuzzer instruments all that it links.

#![allow(dead_code)]

pub mod budget;
pub mod event;
pub mod extjson;
pub mod filter;
pub mod position;
pub mod protocol;
