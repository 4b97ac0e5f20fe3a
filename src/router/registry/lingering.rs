//! The sockets of ended sessions that are not closed yet, with the callers that they hung on.

use std::sync::Arc;

use super::Closed;
use crate::access::{Caller, Credential};

/// Sockets that are looked through for closed ones, at the least.
const FEW: usize = 64;

/// The sockets of ended sessions. Those of callers who proved nothing are not in it.
#[derive(Debug)]
pub(super) struct Lingering {
    sockets: Vec<(Arc<Caller>, Closed)>,
    /// The number of sockets at which closed ones are left out, so that it stays within twice of those that are open.
    full: usize,
}

impl Default for Lingering {
    fn default() -> Self {
        Self {
            sockets: Vec::new(),
            full: FEW,
        }
    }
}

impl Lingering {
    /// Adds the socket of a session that has just ended.
    pub(super) fn add(&mut self, caller: &Arc<Caller>, closed: Closed) {
        if caller.credential == Credential::None {
            return;
        }
        if self.sockets.len() >= self.full {
            self.sockets.retain(|(_, closed)| !closed.is_closed());
            self.full = FEW.max(2 * self.sockets.len());
        }
        self.sockets.push((Arc::clone(caller), closed));
    }

    /// Returns the sockets, some of which may be closed by now, with their callers.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (&Caller, &Closed)> {
        let all = self.sockets.iter();
        all.map(|(caller, closed)| (&**caller, closed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::registry::AliveGuard;

    fn caller(key: &str) -> Arc<Caller> {
        Arc::new(Caller {
            credential: Credential::Key {
                id: key.into(),
                hash: [0; 32],
                not_after: None,
            },
            id: key.into(),
            ..Caller::anybody()
        })
    }

    #[test]
    fn a_socket_lingers_until_it_is_closed() {
        let mut all = Lingering::default();
        let (a, b) = (caller("a"), caller("b"));
        let guards: Vec<_> = [&a, &b, &a, &Arc::new(Caller::anybody())]
            .into_iter()
            .map(|caller| {
                let (alive, closed) = AliveGuard::new();
                all.add(caller, closed);
                alive
            })
            .collect();
        let left = |all: &Lingering| -> Vec<String> {
            let open = all.sockets().filter(|(_, closed)| !closed.is_closed());
            open.map(|(caller, _)| caller.id.to_string()).collect()
        };
        assert_eq!(left(&all), ["a", "b", "a"]);
        drop(guards);
        assert!(left(&all).is_empty());
    }

    #[test]
    fn those_that_are_closed_take_no_room_for_long() {
        let mut all = Lingering::default();
        let a = caller("a");
        let (_alive, closed) = AliveGuard::new();
        all.add(&a, closed);
        for _ in 0..10 * FEW {
            all.add(&a, AliveGuard::new().1);
            assert!(all.sockets.len() <= FEW);
        }
        let open = all.sockets().filter(|(_, closed)| !closed.is_closed());
        assert_eq!(open.count(), 1);
    }
}
