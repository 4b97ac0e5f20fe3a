//! What is compared: a server that takes events and pushes them to sockets.

use std::time::Duration;

use anyhow::Result;

use crate::{load::Load, samples::now_micros};

/// Tidegate, or a peer.
pub(crate) trait Service {
    const NAME: &'static str;

    /// Opens so many sockets on one channel, and waits until all are there.
    async fn connect(&mut self, load: &mut Load, sockets: u32) -> Result<()>;

    /// Publishes so many messages; done when the server has taken them.
    async fn publish(&mut self, count: u32) -> Result<()>;

    /// The size of a published message, so that frames come out equal; nothing where it is not free.
    fn set_frame_bytes(&mut self, bytes: usize);

    /// CPU time so far.
    fn cpu(&self) -> Result<Duration>;

    /// Resident memory, in bytes.
    fn resident(&self) -> Result<u64>;

    /// Ends it.
    async fn stop(self) -> Result<()>;
}

/// A message of the peers: so many bytes of JSON with its time.
pub(crate) fn message(bytes: usize) -> String {
    let head = format!("{{\"sent\":{},\"fill\":\"", now_micros());
    let fill = bytes.saturating_sub(head.len() + 2);
    head + &"x".repeat(fill) + "\"}"
}
