//! The proof that a channel is closed: a guard that its session holds, and the other half, which tells that the
//! guard has fallen.

use tokio_util::sync::{CancellationToken, DropGuard};

/// A guard that a channel holds until the kernel has taken its last bytes, or its session's socket is closed, whatever
/// ends the session.
#[derive(Debug)]
pub(crate) struct AliveGuard(#[expect(dead_code, reason = "its drop is what counts")] DropGuard);

/// Resolves when its [`AliveGuard`] is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Closed(CancellationToken);

impl AliveGuard {
    /// Returns a guard, and what resolves when the guard is dropped.
    pub(crate) fn new() -> (Self, Closed) {
        let token = CancellationToken::new();
        (Self(token.clone().drop_guard()), Closed(token))
    }
}

impl Closed {
    /// Whether the guard is dropped.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until the guard is dropped.
    pub(crate) async fn closed(&self) {
        self.0.cancelled().await;
    }
}
