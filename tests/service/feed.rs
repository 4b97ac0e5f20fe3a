//! From the database to the socket: order, exactness, and trouble on the way.

mod commits;
mod listener;
mod order;
mod publishers;
