//! The sockets of ended sessions that are not closed yet, with the callers that they hung on.

use std::{collections::HashMap, sync::Arc};

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

    /// Returns the sockets of these callers that are not closed yet.
    pub(super) fn of(&self, concerns: impl Fn(&Caller) -> bool) -> Vec<Closed> {
        let open = self
            .sockets
            .iter()
            .filter(|(_, closed)| !closed.is_closed());
        let theirs = open.filter(|(caller, _)| concerns(caller));
        theirs.map(|(_, closed)| closed.clone()).collect()
    }

    /// Returns the sockets that are not closed yet, by the key that they hung on.
    pub(super) fn by_key(&self) -> HashMap<Box<str>, Vec<Closed>> {
        let mut all: HashMap<Box<str>, Vec<Closed>> = HashMap::new();
        for (caller, closed) in self.sockets.iter().filter(|(_, c)| !c.is_closed()) {
            if let Credential::Key { id, .. } = &caller.credential {
                all.entry(id.clone()).or_default().push(closed.clone());
            }
        }
        all
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
        let left = |all: &Lingering, key: &str| all.of(|caller| &*caller.id == key).len();
        assert_eq!((left(&all, "a"), left(&all, "b")), (2, 1));
        assert_eq!(all.of(|_| true).len(), 3);
        assert_eq!(all.by_key()["a"].len(), 2);
        drop(guards);
        assert!(all.of(|_| true).is_empty());
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
        assert_eq!(all.of(|_| true).len(), 1);
    }
}
