//! Turns at a thing of which so many may be done at once, dealt round robin by tenant.
//!
//! A tenant with a thousand clients waits in one queue, and another with one client in another; each turn that is
//! over goes to the next queue. Those without a tenant share a queue.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// The length at which a queue is first looked through for those who gave up.
const FIRST_LOOK: usize = 64;

/// Turns of which so many are given at once. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Turns(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// The tenants of whom somebody waits. The next turn is the first one's.
    order: VecDeque<Option<Box<str>>>,
    /// Their queues, none of them empty.
    queues: HashMap<Option<Box<str>>, Queue>,
}

#[derive(Debug)]
struct Queue {
    waiting: VecDeque<oneshot::Sender<Turn>>,
    /// The length at which those who gave up are taken out.
    look_at: usize,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    /// `None` once it is somebody else's.
    turns: Option<Turns>,
}

impl Turns {
    /// Returns so many turns.
    pub(crate) fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: count,
            order: VecDeque::new(),
            queues: HashMap::new(),
        })))
    }

    /// Waits for a turn. Whoever stops waiting leaves its place to the next of its tenant.
    pub(crate) async fn take(&self, tenant: Option<&str>) -> Turn {
        loop {
            let waiting = {
                let mut state = self.state();
                if state.free > 0 {
                    state.free -= 1;
                    return self.turn();
                }
                state.wait(tenant)
            };
            if let Ok(turn) = waiting.await {
                return turn;
            }
        }
    }

    fn turn(&self) -> Turn {
        Turn {
            turns: Some(self.clone()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a turn that is over to the next who still waits.
    fn give_on(&self) {
        let mut state = self.state();
        while let Some(next) = state.next() {
            match next.send(self.turn()) {
                Ok(()) => return,
                Err(mut unwanted) => unwanted.turns = None,
            }
        }
        state.free += 1;
    }
}

impl State {
    fn wait(&mut self, tenant: Option<&str>) -> oneshot::Receiver<Turn> {
        let (sender, receiver) = oneshot::channel();
        let tenant: Option<Box<str>> = tenant.map(Into::into);
        match self.queues.entry(tenant) {
            Entry::Occupied(queue) => queue.into_mut().push(sender),
            Entry::Vacant(vacant) => {
                self.order.push_back(vacant.key().clone());
                vacant.insert(Queue {
                    waiting: [sender].into(),
                    look_at: FIRST_LOOK,
                });
            }
        }
        receiver
    }

    /// Takes the first who still waits of the first tenant, which is the last one then.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        loop {
            let tenant = self.order.pop_front()?;
            let queue = self.queues.get_mut(&tenant)?;
            let next = queue.pop();
            if queue.waiting.is_empty() {
                self.queues.remove(&tenant);
            } else {
                self.order.push_back(tenant);
            }
            if next.is_some() {
                return next;
            }
        }
    }
}

impl Queue {
    fn push(&mut self, sender: oneshot::Sender<Turn>) {
        // Those who gave up are not kept, and not looked for each time either.
        if self.waiting.len() >= self.look_at {
            self.waiting.retain(|waiting| !waiting.is_closed());
            self.look_at = FIRST_LOOK.max(self.waiting.len() * 2);
        }
        self.waiting.push_back(sender);
    }

    fn pop(&mut self) -> Option<oneshot::Sender<Turn>> {
        loop {
            let first = self.waiting.pop_front()?;
            if !first.is_closed() {
                return Some(first);
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            turns.give_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    type Taking<'t> = Pin<Box<dyn Future<Output = Turn> + 't>>;

    fn poll(taking: &mut Taking<'_>) -> Option<Turn> {
        match taking
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[test]
    fn turns_go_round_the_tenants_and_not_to_whoever_asks_most() {
        let turns = Turns::new(1);
        let mut held = poll(&mut (Box::pin(turns.take(Some("a"))) as Taking<'_>));
        assert!(held.is_some());
        let asking = [Some("a"), Some("a"), Some("a"), Some("b"), None, Some("b")];
        let mut waiting: Vec<(Option<&str>, Taking<'_>)> = asking
            .into_iter()
            .map(|tenant| (tenant, Box::pin(turns.take(tenant)) as Taking<'_>))
            .collect();
        assert!(waiting.iter_mut().all(|(_, taking)| poll(taking).is_none()));
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(held.take());
            let (at, turn) = (waiting.iter_mut().enumerate())
                .find_map(|(at, (_, taking))| Some((at, poll(taking)?)))
                .unwrap();
            held = Some(turn);
            order.push(waiting.remove(at).0);
        }
        let expected = [Some("a"), Some("b"), None, Some("a"), Some("b"), Some("a")];
        assert_eq!(order, expected);
        drop(held);
        assert_eq!(turns.state().free, 1);
    }

    #[test]
    fn whoever_gives_up_takes_no_turn() {
        let turns = Turns::new(1);
        let held = poll(&mut (Box::pin(turns.take(None)) as Taking<'_>));
        let mut before = Box::pin(turns.take(Some("a"))) as Taking<'_>;
        let mut during = Box::pin(turns.take(Some("b"))) as Taking<'_>;
        let mut last = Box::pin(turns.take(Some("c"))) as Taking<'_>;
        for taking in [&mut before, &mut during, &mut last] {
            assert!(poll(taking).is_none());
        }
        drop(before);
        drop(held);
        // It was given the turn, and leaves before it knows.
        drop(during);
        let turn = poll(&mut last);
        assert!(turn.is_some());
        drop(turn);
        assert_eq!(turns.state().free, 1);
    }
    #[test]
    fn those_who_gave_up_cost_their_tenant_no_turn_and_are_not_kept() {
        let turns = Turns::new(1);
        let held = poll(&mut (Box::pin(turns.take(None)) as Taking<'_>));
        for _ in 0..10 * FIRST_LOOK {
            let mut taking = Box::pin(turns.take(Some("a"))) as Taking<'_>;
            assert!(poll(&mut taking).is_none());
        }
        assert!(turns.state().queues[&Some("a".into())].waiting.len() <= FIRST_LOOK);
        let mut own = Box::pin(turns.take(Some("a"))) as Taking<'_>;
        let mut other = Box::pin(turns.take(Some("b"))) as Taking<'_>;
        assert!(poll(&mut own).is_none() && poll(&mut other).is_none());
        drop(held);
        assert!(poll(&mut other).is_none());
        assert!(poll(&mut own).is_some());
        assert!(poll(&mut other).is_some());
        assert!(turns.state().queues.is_empty() && turns.state().order.is_empty());
    }
}
