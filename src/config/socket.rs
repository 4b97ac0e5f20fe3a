//! The section `[socket]`: sockets and their outboxes.

use std::time::Duration;

use serde::Deserialize;

use super::duration;

/// Sockets and their outboxes (`[socket]`).
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Socket {
    /// Time between two pings. Default `30s`.
    #[serde(deserialize_with = "duration")]
    pub ping_interval: Duration,
    /// Time that the server waits for a pong, or for a write to make progress. Default `10s`.
    #[serde(deserialize_with = "duration")]
    pub pong_timeout: Duration,
    /// Time that the last words and the closing handshake may take. Default `5s`.
    #[serde(deserialize_with = "duration")]
    pub close_timeout: Duration,
    /// Time over which a stop ends the connections, evenly. At most half of `shutdown_timeout`; 0
    /// means at once. Default `5s`.
    #[serde(deserialize_with = "duration")]
    pub drain: Duration,
    /// Bytes of one message from a client. Default 16 KiB.
    pub message_bytes: usize,
    /// Frames waiting in one outbox. Default 1,024.
    pub outbox_frames: usize,
    /// Bytes waiting in one outbox. Default 1 MiB.
    pub outbox_bytes: usize,
    /// Bytes of the kernel's send buffer of one socket. 0 leaves it to the kernel. Default 0.
    pub send_buffer_bytes: usize,
    /// Time that the router waits for a connection that this node is too busy to serve. Default
    /// `10s`.
    #[serde(deserialize_with = "duration")]
    pub router_patience: Duration,
    /// Handles of a socket for many subscriptions. Default 100.
    pub handles: usize,
    /// False refuses filters that clients bring. Default true.
    pub adhoc: bool,
    /// Handles of a socket with filters of its client's own. Default 20.
    pub adhoc_handles: usize,
    /// Items of one `subscribe`. Default 100.
    pub items: usize,
    /// Handles that one socket may subscribe in a second, in the long run. Default 20.
    pub subscribes_per_second: u32,
    /// Handles that one socket may subscribe at once. Default 100.
    pub subscribe_burst: u32,
    /// Bytes of one message from a client on a socket for many subscriptions. Default 256 KiB.
    pub many_message_bytes: usize,
    /// Time within which the first `subscribe` has to come. Default `30s`.
    #[serde(deserialize_with = "duration")]
    pub first_subscribe: Duration,
}

impl Default for Socket {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            drain: Duration::from_secs(5),
            message_bytes: 16 << 10,
            outbox_frames: 1_024,
            outbox_bytes: 1 << 20,
            send_buffer_bytes: 0,
            router_patience: Duration::from_secs(10),
            handles: 100,
            adhoc: true,
            adhoc_handles: 20,
            items: 100,
            subscribes_per_second: 20,
            subscribe_burst: 100,
            many_message_bytes: 256 << 10,
            first_subscribe: Duration::from_secs(30),
        }
    }
}
