//! The filter language alone. It is pure, so it is compiled here from its own sources (`filter.rs` and
//! `filter/` are links), without the service around it: a fuzzer instruments all that it links.

#![allow(dead_code)]

pub mod filter;
