//! From the database to the socket: order, exactness, and trouble on the way.

mod changes;
mod commits;
mod documents;
mod failpoint;
mod listener;
mod lost;
mod oddities;
mod order;
mod oversized;
mod publishers;
mod restart;
mod resume;
mod tokens;
