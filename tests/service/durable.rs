//! Durable subscriptions: the server keeps the acknowledged position.

mod acks;
mod kept;
mod quiet;
mod races;
pub(crate) mod support;
