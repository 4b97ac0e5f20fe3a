//! One socket for many subscriptions.

mod acks;
mod ends;
mod kit;
mod order;
mod refusals;
mod returning;
