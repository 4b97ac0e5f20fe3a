//! The service as its users meet it: real sockets, a real MongoDB, one database a test.

#[path = "../support/mod.rs"]
mod support;

mod apart;
mod durable;
mod feed;
mod first;
mod hostile;
mod late;
mod raw;
mod replay;
