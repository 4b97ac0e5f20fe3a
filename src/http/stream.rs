//! The path from a request to a connection, over a WebSocket or as server-sent events.
//!
//! It ends where the connection's task begins: it knows nothing of sockets once they are upgraded.

mod attach;
#[cfg(test)]
pub(crate) mod echo;
pub(crate) mod negotiate;
mod resume;
pub(crate) mod retry;
mod sse;
mod websocket;
