//! Tidegate: persistent, filtered event subscriptions on MongoDB, pushed to whoever is connected.
//!
//! ```text
//! MongoDB ── change stream ──▶ feed ──▶ router ──▶ registry ──▶ outbox ──▶ session ──▶ socket
//!    ▲                                   │ filter index
//!    └── REST writes (store) ◀── http    └ subscriptions by id
//! ```
//!
//! The modules in reading order, from the words to the whole. Imports point from later ones to
//! earlier ones only, but the last line serves all; `ARCHITECTURE.md` says what each owns and must not know.
//!
//! - [`event`], [`position`], [`protocol`], [`extjson`], `budget`: the vocabulary.
//! - [`filter`]: MongoDB's query language: parse, match, index, explain.
//! - `access`: who may do what: callers, keys, policies, revocations.
//! - [`subscription`]: stored subscriptions, with their filters compiled.
//! - [`store`]: everything in MongoDB but the change stream; `retry_writer`: one write at a time, retried.
//! - `turns`: things of which so many may be done at once, dealt round robin by tenant.
//! - [`router`]: the one task that applies everything in order; owns the index and the registry.
//! - `identity`: issuers of tokens, and their keys as they are now.
//! - [`feed`]: sole owner of the node's change stream.
//! - [`positions`], [`receipts`]: observers of the router: acknowledged positions, and what this node did about deletes.
//! - [`history`]: readers of the oplog and the archive, for clients that were away.
//! - [`carrier`]: the ways to a client: WebSocket, server-sent events.
//! - [`session`]: one task a client, which alone owns its socket.
//! - [`http`]: routes, problems, the upgrade.
//! - [`node`]: builds, starts and stops all of it.
//! - [`client`]: a client of the service; [`cli`]: the commands.
//! - [`config`], [`telemetry`], [`mongod`]: settings; logs, metrics, health; a private server.
//!
//! Others link against little: [`filter::Filter`], [`filter::FilterIndex`], [`server::run`] with
//! [`config::Config`].

mod access;
mod budget;
pub(crate) mod carrier;
pub mod cli;
pub mod client;
pub mod config;
pub(crate) mod event;
pub(crate) mod extjson;
pub(crate) mod feed;
pub mod filter;
pub(crate) mod history;
pub(crate) mod http;
mod identity;
pub mod mongod;
pub(crate) mod node;
pub mod position;
pub(crate) mod positions;
pub mod protocol;
pub(crate) mod receipts;
mod retry_writer;
pub(crate) mod router;
pub(crate) mod session;
pub mod store;
pub mod subscription;
pub(crate) mod telemetry;
mod turns;

/// Parts of the inside, for the tests that compare them with a real server.
#[doc(hidden)]
pub mod internal {
    pub use crate::access::{
        BoundPolicy, BoundPublishing, ClaimValue, Claims, Policy, PolicyFault, PolicyWarning,
        PublishRefusal, StampFault, Unsatisfied,
    };
}

/// The running service: builds, starts and stops a node.
pub mod server {
    pub use crate::node::{CertificateError, NodeError, TaskFault, run};
}
