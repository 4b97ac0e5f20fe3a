//! The filter language alone. It is pure, so it is compiled from its sources here, without the
//! service around it: a fuzzer instruments everything that it links.

#![allow(dead_code)]

#[path = "../../src/filter.rs"]
pub mod filter;
