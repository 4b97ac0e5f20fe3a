//! Durable subscriptions: the server keeps the acknowledged position.

mod acks;
mod kept;
mod kills;
mod lost;
mod quiet;
mod races;
pub(crate) mod support;
