//! Turns at a thing of which so many may be done at once, dealt round robin by tenant.
//!
//! A tenant with a thousand clients waits in one queue, and another with one client in another; each turn that is
//! over goes to the next queue. Those without a tenant share a queue. They are operators, or everybody where nobody proves
//! itself, and nothing else bounds them here.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// The length at which a queue is first looked through for those who gave up.
const FIRST_LOOK: usize = 64;
/// The most of one tenant that may wait.
const MOST_WAITING: usize = 1_000;

/// The refusal of a turn: as many of the tenant wait for one as may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Crowded;

/// Turns of which so many are given at once. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Turns(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// The most turns that one tenant has at once.
    most_of_tenant: usize,
    /// The turns that each tenant has, if any.
    held: HashMap<Box<str>, usize>,
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
    tenant: Option<Box<str>>,
}

impl Turns {
    /// Returns so many turns, all of which one tenant may have.
    pub(crate) fn new(count: usize) -> Self {
        Self::of(count, count)
    }

    /// Returns so many turns, of which one tenant has all but one at most: where they are long, another would wait for the
    /// end of one.
    pub(crate) fn never_all_of_one(count: usize) -> Self {
        Self::of(count, count.saturating_sub(1).max(1))
    }

    fn of(count: usize, most_of_tenant: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: count,
            most_of_tenant,
            held: HashMap::new(),
            order: VecDeque::new(),
            queues: HashMap::new(),
        })))
    }

    /// Waits for a turn. Whoever stops waiting leaves its place to the next of its tenant.
    pub(crate) async fn take(&self, tenant: Option<&str>) -> Turn {
        loop {
            let waiting = {
                let mut state = self.state();
                if state.may_have_one(tenant) {
                    state.hand_out(tenant);
                    return self.turn(tenant);
                }
                state.wait(tenant)
            };
            if let Ok(turn) = waiting.await {
                return turn;
            }
        }
    }

    /// Waits for a turn like [`Turns::take`], unless too many of the tenant do.
    pub(crate) async fn take_unless_crowded(&self, tenant: Option<&str>) -> Result<Turn, Crowded> {
        if self.state().is_crowded(tenant) {
            return Err(Crowded);
        }
        Ok(self.take(tenant).await)
    }

    fn turn(&self, tenant: Option<&str>) -> Turn {
        Turn {
            turns: Some(self.clone()),
            tenant: tenant.map(Into::into),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a turn that is over to the next who still waits and may have it.
    fn give_on(&self, tenant: Option<&str>) {
        let mut state = self.state();
        state.take_back(tenant);
        while let Some((tenant, next)) = state.next() {
            let tenant = tenant.as_deref();
            state.hand_out(tenant);
            match next.send(self.turn(tenant)) {
                Ok(()) => return,
                Err(mut unwanted) => {
                    unwanted.turns = None;
                    state.take_back(tenant);
                }
            }
        }
    }
}

impl State {
    fn may_have_one(&self, tenant: Option<&str>) -> bool {
        let held = tenant.and_then(|tenant| self.held.get(tenant));
        self.free > 0 && held.is_none_or(|held| *held < self.most_of_tenant)
    }

    fn hand_out(&mut self, tenant: Option<&str>) {
        self.free -= 1;
        if let Some(tenant) = tenant {
            *self.held.entry(tenant.into()).or_default() += 1;
        }
    }

    fn take_back(&mut self, tenant: Option<&str>) {
        self.free += 1;
        if let Some(tenant) = tenant
            && let Some(held) = self.held.get_mut(tenant)
        {
            *held -= 1;
            if *held == 0 {
                self.held.remove(tenant);
            }
        }
    }

    /// Whether as many of a tenant wait as may.
    fn is_crowded(&mut self, tenant: Option<&str>) -> bool {
        let Some(tenant) = tenant else { return false };
        let tenant: Option<Box<str>> = Some(tenant.into());
        let Some(queue) = self.queues.get_mut(&tenant) else {
            return false;
        };
        if queue.waiting.len() >= MOST_WAITING {
            queue.forget_those_who_gave_up();
        }
        queue.waiting.len() >= MOST_WAITING
    }

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

    /// Takes the first who still waits of the first tenant that may have a turn, which is the last one then.
    fn next(&mut self) -> Option<(Option<Box<str>>, oneshot::Sender<Turn>)> {
        loop {
            let mut order = self.order.iter();
            let first = order.position(|tenant| self.may_have_one(tenant.as_deref()))?;
            let tenant = self.order.remove(first)?;
            let queue = self.queues.get_mut(&tenant)?;
            let next = queue.pop();
            if queue.waiting.is_empty() {
                self.queues.remove(&tenant);
            } else {
                self.order.push_back(tenant.clone());
            }
            if let Some(next) = next {
                return Some((tenant, next));
            }
        }
    }
}

impl Queue {
    fn push(&mut self, sender: oneshot::Sender<Turn>) {
        // Those who gave up are not kept, and not looked for each time either.
        if self.waiting.len() >= self.look_at {
            self.forget_those_who_gave_up();
        }
        self.waiting.push_back(sender);
    }

    fn forget_those_who_gave_up(&mut self) {
        self.waiting.retain(|waiting| !waiting.is_closed());
        self.look_at = FIRST_LOOK.max(self.waiting.len() * 2);
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
            turns.give_on(self.tenant.as_deref());
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
    fn a_tenant_has_all_turns_but_one_and_others_need_not_wait_for_it() {
        let turns = Turns::never_all_of_one(3);
        let take = |tenant| Box::pin(turns.take(tenant)) as Taking<'_>;
        let now = |tenant| poll(&mut take(tenant));
        let busy = [now(Some("a")), now(Some("a"))];
        assert!(busy.iter().all(Option::is_some));
        let (mut third, mut fourth) = (take(Some("a")), take(Some("a")));
        assert!(poll(&mut third).is_none() && poll(&mut fourth).is_none());
        let mut other = now(Some("b"));
        assert!(other.is_some());
        // What another gives back is none for the one that has its share.
        drop(other.take());
        assert!(poll(&mut third).is_none());
        let operator = now(None);
        assert!(operator.is_some());
        drop(busy);
        assert!(poll(&mut third).is_some() && poll(&mut fourth).is_some());
        drop(operator);
        let state = turns.state();
        assert!(state.free == 3 && state.held.is_empty() && state.order.is_empty());
    }

    #[test]
    fn of_one_tenant_so_many_wait_and_no_more() {
        let turns = Turns::new(1);
        let held = poll(&mut (Box::pin(turns.take(None)) as Taking<'_>));
        let mut waiting: Vec<_> = (0..MOST_WAITING)
            .map(|_| Box::pin(turns.take(Some("a"))) as Taking<'_>)
            .collect();
        assert!(waiting.iter_mut().all(|taking| poll(taking).is_none()));
        let is_crowded = |tenant| turns.state().is_crowded(tenant);
        assert!(is_crowded(Some("a")) && !is_crowded(Some("b")) && !is_crowded(None));
        drop(waiting.pop());
        assert!(!is_crowded(Some("a")));
        drop(held);
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
