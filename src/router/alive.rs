//! The proof that a channel is closed: a guard that its session holds, and the other half, which tells that the
//! guard has fallen.
//!
//! A socket and all its channels share one state, in which each guard that stands is a number. So a channel takes four
//! bytes there, and nothing of its own.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use smallvec::SmallVec;
use tokio::sync::Notify;

use crate::protocol::ChannelId;

/// The number of the socket itself. Those of its channels follow.
const SOCKET: u32 = 0;

/// A guard that a channel holds until the kernel has taken its last bytes, or its session's socket is closed, whatever
/// ends the session; or one that is held until the socket is closed.
#[derive(Debug)]
pub(crate) struct AliveGuard(Closed);

/// Resolves when its [`AliveGuard`] is dropped.
#[derive(Clone)]
pub(crate) struct Closed {
    guards: Arc<Guards>,
    number: u32,
}

/// The guards of one socket.
struct Guards {
    /// The numbers of those that stand, in order.
    standing: Mutex<SmallVec<[u32; 4]>>,
    fallen: Notify,
}

impl AliveGuard {
    /// Returns a guard of a socket, and what resolves when the guard is dropped.
    pub(crate) fn new() -> (Self, Closed) {
        let guards = Arc::new(Guards {
            standing: Mutex::default(),
            fallen: Notify::new(),
        });
        let closed = Closed {
            guards,
            number: SOCKET,
        };
        (closed.stand(), closed)
    }
}

impl Drop for AliveGuard {
    fn drop(&mut self) {
        let guards = &self.0.guards;
        let mut standing = guards.standing();
        if let Ok(at) = standing.binary_search(&self.0.number) {
            standing.remove(at);
            if standing.len() < standing.capacity() / 4 {
                standing.shrink_to_fit();
            }
        }
        drop(standing);
        guards.fallen.notify_waiters();
    }
}

impl Closed {
    /// Returns a guard of a channel on the same socket.
    pub(crate) fn guard(&self, channel: ChannelId) -> AliveGuard {
        self.of(channel).stand()
    }

    /// Returns what resolves when the guard of a channel on the same socket is dropped. It must have been made.
    pub(crate) fn of(&self, channel: ChannelId) -> Self {
        Self {
            guards: Arc::clone(&self.guards),
            number: channel.number() + 1,
        }
    }

    /// Whether the guard is dropped.
    pub(crate) fn is_closed(&self) -> bool {
        let standing = self.guards.standing();
        standing.binary_search(&self.number).is_err()
    }

    /// Waits until the guard is dropped.
    pub(crate) async fn closed(&self) {
        loop {
            // Whoever falls from here on is heard.
            let fallen = self.guards.fallen.notified();
            if self.is_closed() {
                return;
            }
            fallen.await;
        }
    }

    fn stand(&self) -> AliveGuard {
        let mut standing = self.guards.standing();
        if let Err(at) = standing.binary_search(&self.number) {
            standing.insert(at, self.number);
        }
        drop(standing);
        AliveGuard(self.clone())
    }
}

impl fmt::Debug for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closed")
            .field("number", &self.number)
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl Guards {
    fn standing(&self) -> MutexGuard<'_, SmallVec<[u32; 4]>> {
        // No code panics while holding the lock.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    /// The channels 0 to 9 in an order in which they do not come.
    fn channels() -> impl Iterator<Item = ChannelId> {
        let ids = std::iter::successors(Some(ChannelId::FIRST), |id| Some(id.next()));
        let mut ids: Vec<_> = ids.take(10).collect();
        ids.rotate_left(3);
        ids.into_iter()
    }

    #[test]
    fn each_guard_falls_alone() {
        let (socket, closed) = AliveGuard::new();
        let mut guards: Vec<_> = channels()
            .map(|id| (closed.of(id), closed.guard(id)))
            .collect();
        while let Some((of_it, guard)) = guards.pop() {
            assert!(!of_it.is_closed());
            drop(guard);
            assert!(of_it.is_closed());
            assert!(guards.iter().all(|(of_it, _)| !of_it.is_closed()));
            assert!(!closed.is_closed());
        }
        drop(socket);
        assert!(closed.is_closed());
    }

    #[test]
    fn whoever_waits_is_woken_by_the_guard_that_it_waits_for() {
        let (_socket, closed) = AliveGuard::new();
        let mut guards = channels().map(|id| (closed.of(id), closed.guard(id)));
        let ((first, one), (_, other)) = (guards.next().unwrap(), guards.next().unwrap());
        let mut cx = Context::from_waker(Waker::noop());
        let mut waiting = pin!(first.closed());
        assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Pending);
        drop(other);
        assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Pending);
        drop(one);
        assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Ready(()));
    }
}
