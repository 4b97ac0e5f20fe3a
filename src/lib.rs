//! Tidegate: persistent, filtered event subscriptions on MongoDB.

pub mod config;
pub mod event;
pub mod extjson;
pub mod mongod;
pub mod filter;
pub mod position;
pub mod protocol;
pub mod subscription;
pub mod telemetry;
