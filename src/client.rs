//! A client of the service: calls over HTTP, a WebSocket on a subscription, and a listener that stays with a
//! subscription over any number of connections.
//!
//! The command line, the benchmarks and the tests use it, and clients in other languages follow it. It knows the
//! protocol and nothing of the inside of the service.
//!
//! # Listening
//!
//! ```text
//!                ┌───────────── the wait is over ─────────────┐
//!                ▼                                            │
//!           Connecting ── opened ──▶ Open ── lost, or closed ──▶ Waiting
//!                │                    │       with a code to retry
//!                │                    └── closed with a final code ──▶ Ended
//!                ├── refused for now (408, 429, 5xx), or unreachable ──▶ Waiting
//!                └── refused for good, or never reached ──▶ Ended
//! ```
//!
//! - **Resume.** Each connection begins after the cursor of the last frame that the caller has *handled*. A frame that
//!   was read and not handled comes again, so nothing is lost, and nothing that was handled comes twice.
//! - **Wait.** Before attempt *n* in a row: a random time between 0 and 250 ms × 2ⁿ, at most 30 s ("full jitter", so
//!   that clients that were cut off together do not come back together). Where the service asked for a time
//!   (`retryAfterMs`, `Retry-After`), that time, at most a minute, is added. The count begins anew after an event, and
//!   after a connection that lived 10 s. The listener never gives up by itself.
//! - **First attempt.** An address on which nobody answers is likely to be wrong: while there has been no connection,
//!   that is an error.
//! - **Codes.** 4000–4499 retry and 4500–4999 do not; the others are in the table of endings ([`Ending`]).
//! - **Silence.** Opening may take 30 s. After 40 s without a frame or ping the client sends a ping; after 40 s more it
//!   takes the connection for lost. The service pings every 30 s, so that a client rarely has to.
//! - **Acknowledging** (durable subscriptions). One frame acknowledges everything up to its cursor. It is sent when
//!   there is nothing to read, after 100 events, after 200 ms, and before the close. A connection that is lost leaves
//!   open whether the last one arrived, so the next connection repeats it.
//!
//! # Publishing
//!
//! All attempts of a request carry one `Idempotency-Key`, so that the service stores its events once. Waits are as
//! above, 8 s at most, and the caller bounds the attempts.
//!
//! [`Ending`]: crate::protocol::Ending

mod acks;
mod backoff;
pub mod counting;
mod error;
mod frame;
mod http;
mod listener;
mod problem;
mod publish;
mod several;
mod socket;

pub use self::{
    error::ClientError,
    http::{Answer, Client},
    problem::Problem,
    socket::{NO_STATUS, Received, Socket, Start},
};
pub(crate) use self::{
    frame::Frame,
    http::parse_address,
    listener::{ListenError, Listener, Notice},
    several::Wanted,
};
