//! The section `[feed]`: the change stream, the backlog and replays.

use std::time::Duration;

use serde::Deserialize;

use super::duration;

/// The change stream, the backlog and replays (`[feed]`).
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Feed {
    /// Time for which the server holds an idle request for changes, and so the time within which an
    /// idle feed's position moves. Default `250ms`.
    #[serde(deserialize_with = "duration")]
    pub max_await: Duration,
    /// Bytes of the backlog: recent changes in memory, for clients that were away for a moment.
    /// Default 64 MiB.
    pub window_bytes: usize,
    /// Time for which the backlog keeps a change. Default `10m`.
    #[serde(deserialize_with = "duration")]
    pub window_age: Duration,
    /// Change streams that may be open for replays at the same time. Default 2.
    pub replay_streams: usize,
    /// Time that a client may wait for its replay to begin. Default `30s`.
    #[serde(deserialize_with = "duration")]
    pub replay_wait: Duration,
    /// Time that a replay may take until it is live. Default `10m`.
    #[serde(deserialize_with = "duration")]
    pub replay_timeout: Duration,
    /// Time that an acknowledged position may wait to be written together with others. Default
    /// `500ms`.
    #[serde(deserialize_with = "duration")]
    pub ack_delay: Duration,
    /// Batches read ahead of the router. Default 4.
    pub batches_ahead: usize,
    /// The first pause between attempts to reopen the change stream. Default `50ms`.
    #[serde(deserialize_with = "duration")]
    pub retry_min: Duration,
    /// The longest pause between these attempts. Default `5s`.
    #[serde(deserialize_with = "duration")]
    pub retry_max: Duration,
    /// Time after which a node whose feed is behind or cut is no longer ready. Default `10s`.
    #[serde(deserialize_with = "duration")]
    pub ready_lag: Duration,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            max_await: Duration::from_millis(250),
            window_bytes: 64 << 20,
            window_age: Duration::from_mins(10),
            replay_streams: 2,
            replay_wait: Duration::from_secs(30),
            replay_timeout: Duration::from_mins(10),
            ack_delay: Duration::from_millis(500),
            batches_ahead: 4,
            retry_min: Duration::from_millis(50),
            retry_max: Duration::from_secs(5),
            ready_lag: Duration::from_secs(10),
        }
    }
}
