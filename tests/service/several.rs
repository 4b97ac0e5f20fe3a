//! One socket for many subscriptions.

mod acks;
mod adhoc;
mod ends;
mod events;
mod kit;
mod order;
mod refusals;
mod returning;
