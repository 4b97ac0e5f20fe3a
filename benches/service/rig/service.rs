//! A service that is measured: it takes events and pushes them to sockets.

use std::time::Duration;

use anyhow::Result;

use super::load::Load;

/// Tidegate, or a peer.
pub(crate) trait Service {
    const NAME: &'static str;

    /// Opens this many sockets on one channel, and waits until all are there.
    async fn connect(&mut self, load: &mut Load, sockets: u32) -> Result<()>;

    /// Publishes this many messages. Returns when the service has taken them.
    async fn publish(&mut self, count: u32) -> Result<()>;

    /// Sets the size of a published message, so that frames come out equal. Does nothing where the size is given.
    fn set_frame_bytes(&mut self, bytes: usize);

    /// Returns the CPU time so far.
    fn cpu(&self) -> Result<Duration>;

    /// Returns the resident memory, in bytes.
    fn resident(&self) -> Result<u64>;

    /// Ends the service.
    async fn stop(self) -> Result<()>;
}
