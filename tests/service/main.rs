//! The service as its users meet it: real sockets, a real MongoDB, one database a test.

#[path = "../support/mod.rs"]
mod support;

mod feed;
mod first;
mod replay;
