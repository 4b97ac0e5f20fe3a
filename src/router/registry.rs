//! Which connections each subscription has.
//!
//! The registry alone decides that a connection ends, and why. A connection is in it from
//! [`Registry::open`] to the one [`Registry::end`] that finds it; whoever comes later finds nothing,
//! which is what makes an ending happen exactly once whatever races. Pure: no async, no I/O.

mod alive;

use std::collections::HashMap;
use std::hash::Hash;
use std::time::SystemTime;

pub(crate) use self::alive::{AliveGuard, Closed};
use super::{
    counters::ConnectionCounters,
    outbox::{End, Sender},
};
use crate::{
    position::Position,
    protocol::{Dialect, Ending},
};

/// Names a connection on this node. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct ConnectionKey(u64);

/// What a connection gets while it is registered. Goes down this list only; behind the last of it
/// comes the end, after which the registry has forgotten the connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Phase {
    /// Nothing: it fetches events of the past, in order, and is switched over when it has all.
    CatchingUp,
    /// Events as they come.
    Live,
}

/// What the registry keeps of one connection.
#[derive(Debug)]
pub(crate) struct Registered {
    /// Its name here.
    pub key: ConnectionKey,
    /// Its name to clients and operators.
    pub id: String,
    /// The way to it.
    pub outbox: Sender,
    /// How it wants its frames.
    pub dialect: Dialect,
    /// Whether it ends rather than being told of a gap.
    pub close_on_gap: bool,
    /// Events up to here are not delivered: the client has them, or asked to start later.
    pub from: Position,
    /// What it gets.
    pub phase: Phase,
    /// Bytes of its own copy of the subscription, which it has for the past.
    pub copy_bytes: usize,
    /// Where the client is.
    pub remote: String,
    /// Since when.
    pub opened_at: SystemTime,
    /// Tells when its task, and with it the socket, is gone.
    pub closed: Closed,
}

impl Registered {
    /// Whether what was just committed at `position` is for it.
    pub(crate) fn gets(&self, position: Position) -> bool {
        self.phase == Phase::Live && self.from < position
    }

    /// Whether a gap ends it.
    pub(crate) fn ends_on_gap(&self) -> bool {
        ends_on_gap(self.dialect, self.close_on_gap)
    }
}

/// Whether a gap ends such a connection: bare CloudEvents have no way to tell of one.
pub(crate) fn ends_on_gap(dialect: Dialect, close_on_gap: bool) -> bool {
    close_on_gap || !dialect.has_messages()
}

/// What a connection is opened with; the registry adds the key.
#[derive(Debug)]
pub(crate) struct NewConnection {
    /// See [`Registered`].
    pub id: String,
    /// See [`Registered`].
    pub outbox: Sender,
    /// See [`Registered`].
    pub dialect: Dialect,
    /// See [`Registered`].
    pub close_on_gap: bool,
    /// See [`Registered`].
    pub from: Position,
    /// See [`Registered`].
    pub phase: Phase,
    /// See [`Registered`].
    pub copy_bytes: usize,
    /// See [`Registered`].
    pub remote: String,
    /// See [`Registered`].
    pub closed: Closed,
}

#[cfg(test)]
impl NewConnection {
    /// A live one from the start on, for tests.
    pub(crate) fn live(outbox: Sender) -> Self {
        Self {
            id: String::new(),
            outbox,
            dialect: Dialect::Tidegate,
            close_on_gap: false,
            from: Position::START,
            phase: Phase::Live,
            copy_bytes: 0,
            remote: String::new(),
            closed: AliveGuard::new().1,
        }
    }
}

/// A connection for which something waits.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) key: ConnectionKey,
    pub(super) outbox: Sender,
    pub(super) bytes: usize,
}

/// The connections of all subscriptions on this node, and the counters about them.
#[derive(Debug)]
pub(crate) struct Registry<S> {
    by_subscription: HashMap<S, Vec<Registered>>,
    places: HashMap<ConnectionKey, (S, usize)>,
    counters: ConnectionCounters,
    /// Bytes of all copies of subscriptions that connections have for the past.
    copied_bytes: usize,
    next_key: u64,
}

impl<S: Copy + Eq + Hash> Default for Registry<S> {
    fn default() -> Self {
        Self {
            by_subscription: HashMap::new(),
            places: HashMap::new(),
            counters: ConnectionCounters::default(),
            copied_bytes: 0,
            next_key: 0,
        }
    }
}

impl<S: Copy + Eq + Hash> Registry<S> {
    /// Takes a connection in.
    pub(crate) fn open(&mut self, subscription: S, new: NewConnection) -> ConnectionKey {
        let key = ConnectionKey(self.next_key);
        self.next_key += 1;
        let connections = self.by_subscription.entry(subscription).or_default();
        self.places.insert(key, (subscription, connections.len()));
        connections.push(Registered {
            key,
            id: new.id,
            outbox: new.outbox,
            dialect: new.dialect,
            close_on_gap: new.close_on_gap,
            from: new.from,
            phase: new.phase,
            copy_bytes: new.copy_bytes,
            remote: new.remote,
            opened_at: SystemTime::now(),
            closed: new.closed,
        });
        self.copied_bytes += new.copy_bytes;
        self.counters.open();
        key
    }

    /// From here on the connection gets events as they come, those after `from`.
    pub(crate) fn make_live(&mut self, key: ConnectionKey, from: Position) {
        let Some((subscription, index)) = self.places.get(&key) else {
            return;
        };
        let connections = self.by_subscription.get_mut(subscription);
        if let Some(connection) = connections.and_then(|all| all.get_mut(*index)) {
            connection.phase = Phase::Live;
            connection.from = connection.from.max(from);
            self.copied_bytes -= std::mem::take(&mut connection.copy_bytes);
        }
    }

    /// Ends a connection: it is forgotten, told, and counted. `None` if it had ended before.
    pub(crate) fn end(
        &mut self,
        key: ConnectionKey,
        ending: Ending,
        position: Position,
    ) -> Option<Registered> {
        let (subscription, index) = self.places.remove(&key)?;
        let connections = self.by_subscription.get_mut(&subscription)?;
        let ended = connections.swap_remove(index);
        if let Some(moved) = connections.get(index) {
            self.places.insert(moved.key, (subscription, index));
        }
        if connections.is_empty() {
            self.by_subscription.remove(&subscription);
        }
        self.finish(&ended, ending, position);
        Some(ended)
    }

    /// Ends every connection of a subscription; returns what resolves when each of them is closed.
    pub(crate) fn end_all_of(
        &mut self,
        subscription: S,
        ending: Ending,
        position: Position,
    ) -> Vec<Closed> {
        let connections = self.by_subscription.remove(&subscription);
        let connections = connections.into_iter().flatten();
        connections
            .map(|connection| {
                self.places.remove(&connection.key);
                self.finish(&connection, ending, position);
                connection.closed
            })
            .collect()
    }

    /// Ends so many connections, whichever; all, if there are no more than that.
    pub(crate) fn end_some(&mut self, most: usize, ending: Ending, position: Position) {
        let keys: Vec<ConnectionKey> = self.places.keys().copied().take(most).collect();
        for key in keys {
            self.end(key, ending, position);
        }
    }

    fn finish(&mut self, connection: &Registered, ending: Ending, position: Position) {
        connection.outbox.end(End {
            ending,
            position,
            drain: drains(ending),
        });
        self.counters.close(ending);
        tracing::debug!(
            connection = connection.id,
            reason = ending.token(),
            code = ending.code(),
            "connection is ending"
        );
        self.copied_bytes -= connection.copy_bytes;
    }

    /// Whose connection it is; `None` if it has ended.
    pub(crate) fn subscription_of(&self, key: ConnectionKey) -> Option<S> {
        self.places.get(&key).map(|(subscription, _)| *subscription)
    }

    /// The connections of a subscription.
    pub(crate) fn of(&self, subscription: S) -> &[Registered] {
        self.by_subscription
            .get(&subscription)
            .map_or(&[], Vec::as_slice)
    }

    /// The subscriptions that have connections.
    pub(crate) fn subscriptions(&self) -> impl Iterator<Item = S> {
        self.by_subscription.keys().copied()
    }

    /// Every connection.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Registered> {
        self.by_subscription.values().flatten()
    }

    /// The connections for which something waits, those with the most first.
    pub(super) fn largest_first(&self) -> Vec<Holder> {
        let holder = |connection: &Registered| Holder {
            key: connection.key,
            outbox: connection.outbox.clone(),
            bytes: connection.outbox.held(),
        };
        let mut holders: Vec<Holder> = self.all().map(holder).filter(|h| h.bytes > 0).collect();
        holders.sort_unstable_by_key(|holder| std::cmp::Reverse(holder.bytes));
        holders
    }

    /// The subscription has changed: those of its connections that get the past have a copy of so many bytes.
    pub(crate) fn copied(&mut self, subscription: S, bytes: usize) {
        let connections = self.by_subscription.get_mut(&subscription);
        for connection in connections.into_iter().flatten() {
            if connection.phase == Phase::CatchingUp {
                self.copied_bytes -= std::mem::replace(&mut connection.copy_bytes, bytes);
                self.copied_bytes += bytes;
            }
        }
    }

    /// Bytes of all copies of subscriptions that connections have for the past.
    pub(crate) fn copied_bytes(&self) -> usize {
        self.copied_bytes
    }

    /// How many connections are open.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// The counters.
    pub(crate) fn counters(&self) -> ConnectionCounters {
        self.counters
    }
}

/// Whether what waits is delivered before the end. Where the client is gone, broke the rules or
/// cannot keep up, it is not.
const fn drains(ending: Ending) -> bool {
    matches!(
        ending,
        Ending::Deleted
            | Ending::Expired
            | Ending::Shutdown
            | Ending::CredentialExpired
            | Ending::Forbidden
            | Ending::Resync
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::outbox::{Bounds, Receiver, Taken, outbox};
    use proptest::prelude::*;
    use std::task::{Context, Poll, Waker};

    fn connection() -> (NewConnection, Receiver) {
        let (sender, receiver) = outbox(Bounds {
            frames: 8,
            bytes: 1024,
        });
        (NewConnection::live(sender), receiver)
    }

    fn end_seen(receiver: &Receiver) -> Option<Ending> {
        let cx = Context::from_waker(Waker::noop());
        match receiver.poll_take(&cx, usize::MAX, &mut Vec::new()) {
            Poll::Ready(Taken::End(end)) => Some(end.ending),
            _ => None,
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Open(u8, usize),
        MakeLive(usize),
        Copied(u8, usize),
        End(usize, Ending),
        EndAllOf(u8),
        EndSome(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let ending = prop::sample::select(Ending::ALL.to_vec());
        prop_oneof![
            4 => (0u8..4, 0usize..9).prop_map(|(of, bytes)| Step::Open(of, bytes)),
            1 => any::<usize>().prop_map(Step::MakeLive),
            1 => (0u8..4, 0usize..9).prop_map(|(of, bytes)| Step::Copied(of, bytes)),
            4 => (any::<usize>(), ending).prop_map(|(at, ending)| Step::End(at, ending)),
            1 => (0u8..4).prop_map(Step::EndAllOf),
            1 => (0usize..6).prop_map(Step::EndSome),
        ]
    }

    proptest! {
        /// Whatever races, each connection is told exactly one ending, the first, and the counters
        /// agree with what was told.
        #[test]
        fn every_connection_ends_once_for_one_reason(steps in prop::collection::vec(step(), 1..80)) {
            let mut registry: Registry<u8> = Registry::default();
            let mut opened: Vec<(ConnectionKey, u8, Receiver)> = Vec::new();
            let mut expected: HashMap<ConnectionKey, Ending> = HashMap::new();
            for step in steps {
                match step {
                    Step::Open(subscription, copy_bytes) => {
                        let (new, receiver) = connection();
                        let phase = if copy_bytes > 0 { Phase::CatchingUp } else { Phase::Live };
                        let new = NewConnection { phase, copy_bytes, ..new };
                        let key = registry.open(subscription, new);
                        opened.push((key, subscription, receiver));
                    }
                    Step::End(at, ending) if !opened.is_empty() => {
                        let (key, _, _) = &opened[at % opened.len()];
                        let first = !expected.contains_key(key);
                        prop_assert_eq!(registry.end(*key, ending, Position::START).is_some(), first);
                        expected.entry(*key).or_insert(ending);
                    }
                    Step::MakeLive(at) if !opened.is_empty() => {
                        registry.make_live(opened[at % opened.len()].0, Position::START);
                    }
                    Step::Copied(subscription, bytes) => registry.copied(subscription, bytes),
                    Step::End(..) | Step::MakeLive(_) => {}
                    Step::EndAllOf(subscription) => {
                        let mut count = 0;
                        for (key, of, _) in &opened {
                            if *of == subscription && !expected.contains_key(key) {
                                expected.insert(*key, Ending::Deleted);
                                count += 1;
                            }
                        }
                        let ended =
                            registry.end_all_of(subscription, Ending::Deleted, Position::START);
                        prop_assert_eq!(ended.len(), count);
                    }
                    Step::EndSome(most) => {
                        let open = registry.len();
                        registry.end_some(most, Ending::Shutdown, Position::START);
                        prop_assert_eq!(registry.len(), open.saturating_sub(most));
                        let left: Vec<ConnectionKey> = registry.all().map(|c| c.key).collect();
                        for (key, _, _) in &opened {
                            if !left.contains(key) {
                                expected.entry(*key).or_insert(Ending::Shutdown);
                            }
                        }
                    }
                }
                let counters = registry.counters();
                prop_assert_eq!(counters.opened, opened.len() as u64);
                prop_assert_eq!(counters.open, registry.len() as u64);
                prop_assert_eq!(counters.opened, counters.open + counters.closed_in_all());
                prop_assert_eq!(registry.all().count(), registry.len());
                let copies = registry.all().map(|c| c.copy_bytes).sum::<usize>();
                prop_assert_eq!(registry.copied_bytes(), copies);
                prop_assert!(registry.all().all(|c| c.phase == Phase::CatchingUp || c.copy_bytes == 0));
                for ending in Ending::ALL {
                    let told = expected.values().filter(|e| **e == ending).count();
                    prop_assert_eq!(counters.closed(ending), told as u64);
                }
            }
            for (key, _, receiver) in &opened {
                prop_assert_eq!(end_seen(receiver), expected.get(key).copied());
                prop_assert_eq!(end_seen(receiver), None, "told once");
            }
        }
    }
}
