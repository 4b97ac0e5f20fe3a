//! The tickets that this node has made and nobody has presented yet. Anybody can make up the text of one, and only the
//! database knows which are stored. So it is asked for so many in vain and no more, but for these.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The most tickets that are remembered. Beyond it, the oldest is forgotten.
const MOST: usize = 10_000;

/// The tickets of this node.
#[derive(Default, Debug)]
pub(crate) struct OwnTickets(Mutex<State>);

#[derive(Default, Debug)]
struct State {
    made: HashSet<Box<str>>,
    /// The same tickets and some that were presented, in the order in which they were made.
    order: VecDeque<Box<str>>,
}

impl OwnTickets {
    /// Notes that this node has made a ticket.
    pub(crate) fn add(&self, id: String) {
        let id: Box<str> = id.into();
        let mut state = self.state();
        if state.order.len() >= MOST
            && let Some(oldest) = state.order.pop_front()
        {
            state.made.remove(&oldest);
        }
        state.order.push_back(id.clone());
        state.made.insert(id);
    }

    /// Whether this node has made a ticket, and nobody has presented it before.
    pub(super) fn take(&self, id: &str) -> bool {
        self.state().made.remove(id)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_known_until_it_is_presented() {
        let own = OwnTickets::default();
        own.add("a".to_owned());
        assert!(own.take("a") && !own.take("a") && !own.take("b"));
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let own = OwnTickets::default();
        for n in 0..=MOST {
            own.add(n.to_string());
        }
        let state = own.state();
        assert_eq!((state.made.len(), state.order.len()), (MOST, MOST));
        assert!(!state.made.contains("0") && state.made.contains("1"));
    }
}
