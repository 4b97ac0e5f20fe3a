//! Tidegate: persistent, filtered event subscriptions on MongoDB.

pub mod cli;
pub mod config;
pub mod connection;
pub mod event;
pub mod extjson;
pub mod feed;
pub mod filter;
pub mod http;
pub mod mongod;
pub mod position;
pub mod positions;
pub mod protocol;
pub mod replay;
pub mod router;
pub mod server;
pub mod store;
pub mod subscription;
pub mod telemetry;
