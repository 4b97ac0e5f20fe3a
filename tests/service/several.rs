//! One socket for many subscriptions.

mod acks;
mod adhoc;
mod ahead;
mod archive;
mod bounds;
mod cuts;
mod ends;
mod events;
mod kit;
mod model;
mod oracle;
mod order;
mod refusals;
mod returning;
