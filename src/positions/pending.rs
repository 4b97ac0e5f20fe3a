//! The durable subscriptions as they are known here, and the part of that which waits to be written. Pure.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::{
    position::Position,
    router::Incarnation,
    store::{Beginning, DurableSnapshot, PositionChanges},
    subscription::SubscriptionId,
};

/// The durable subscriptions, and their changes since the last write.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    known: HashMap<SubscriptionId, KnownPosition>,
    whole: Option<DurableSnapshot>,
    ended: HashMap<SubscriptionId, Position>,
    begun: HashMap<SubscriptionId, Beginning>,
    acknowledged: HashMap<SubscriptionId, Position>,
    waiters: Vec<oneshot::Sender<()>>,
}

/// The position of one durable subscription, as known here.
#[derive(Clone, Copy, Debug)]
struct KnownPosition {
    /// The position at which the subscription was made. Acknowledgements of an earlier one under the same id do not
    /// count. (A later one begins anew, or goes on with the same position.)
    since: Position,
    /// The furthest position known here; [`Position::START`] if only the database knows more.
    at: Position,
}

/// The content of one write.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) changes: PositionChanges,
    /// True if it has beginnings or ends.
    pub(super) structural: bool,
    pub(super) waiters: Vec<oneshot::Sender<()>>,
}

impl Pending {
    pub(crate) fn begun(&mut self, incarnation: Incarnation, at: Position) {
        let Incarnation { id, since } = incarnation;
        self.acknowledged.remove(&id);
        self.known.insert(id.clone(), KnownPosition { since, at });
        self.begun.insert(id, Beginning { at, seen: true });
    }

    pub(crate) fn ended(&mut self, id: SubscriptionId, at: Position) {
        self.known.remove(&id);
        self.acknowledged.remove(&id);
        self.begun.remove(&id);
        self.ended.insert(id, at);
    }

    /// Queues everything that is known, because nothing is stored any more. Of a subscription that has acknowledged
    /// nothing on this node, only the beginning can be known: events that it acknowledged elsewhere come again.
    pub(super) fn lost(&mut self) {
        for (id, KnownPosition { at, .. }) in &self.known {
            let found = Beginning {
                at: *at,
                seen: false,
            };
            self.begun.entry(id.clone()).or_insert(found);
            // Another node, which knows less, may be the one that writes the beginning.
            if *at > Position::START {
                self.acknowledged.insert(id.clone(), *at);
            }
        }
    }

    /// Replaces all durable subscriptions.
    pub(super) fn replaced(&mut self, all: &[Incarnation], at: Position) {
        let mut known = HashMap::with_capacity(all.len());
        for Incarnation { id, since } in all {
            let new = KnownPosition {
                since: *since,
                at: Position::START,
            };
            let mut here = self.known.remove(id).unwrap_or(new);
            // Connections from before stay.
            here.since = here.since.min(*since);
            known.insert(id.clone(), here);
            let found = Beginning { at, seen: false };
            self.begun.entry(id.clone()).or_insert(found);
        }
        self.begun.retain(|id, _| known.contains_key(id));
        self.acknowledged.retain(|id, _| known.contains_key(id));
        self.known = known;
        self.whole = Some(DurableSnapshot {
            at,
            ids: all.iter().map(|one| one.id.clone()).collect(),
        });
    }

    /// Moves a position forward; false if that changes nothing.
    pub(crate) fn acknowledged(&mut self, incarnation: &Incarnation, at: Position) -> bool {
        match self.known.get_mut(&incarnation.id) {
            Some(known) if known.since <= incarnation.since && known.at < at => {
                known.at = at;
                self.acknowledged.insert(incarnation.id.clone(), at);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn known(&self, id: &str) -> Option<Position> {
        self.known.get(id).map(|known| known.at)
    }

    /// Whether anything waits: beginnings and ends, or with `all` anything at all.
    pub(super) fn waits(&self, all: bool) -> bool {
        self.whole.is_some()
            || !self.ended.is_empty()
            || !self.begun.is_empty()
            || (all && !self.acknowledged.is_empty())
    }

    /// Has someone told when what waits now is written.
    pub(super) fn add_waiter(&mut self, waiter: oneshot::Sender<()>) {
        self.waiters.push(waiter);
    }

    /// Takes everything that waits.
    pub(super) fn take(&mut self) -> Work {
        Work {
            structural: self.waits(false),
            changes: PositionChanges {
                snapshot: self.whole.take(),
                ended: self.ended.drain().collect(),
                begun: self.begun.drain().collect(),
                acknowledged: self.acknowledged.drain().collect(),
            },
            waiters: std::mem::take(&mut self.waiters),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::Timestamp;

    fn at(time: u32) -> Position {
        Position::at(Timestamp { time, increment: 0 })
    }

    fn incarnation(id: &str, since: u32) -> Incarnation {
        Incarnation {
            id: id.into(),
            since: at(since),
        }
    }

    fn acknowledged(pending: &mut Pending) -> Vec<(String, Position)> {
        let changes = pending.take().changes;
        let text = |(id, at): (SubscriptionId, Position)| (id.to_string(), at);
        changes.acknowledged.into_iter().map(text).collect()
    }

    #[test]
    fn a_position_moves_forward_only_and_only_for_durable_subscriptions() {
        let mut pending = Pending::default();
        let a = incarnation("a", 5);
        assert!(!pending.acknowledged(&a, at(1)), "nobody knows it");
        pending.begun(a.clone(), at(5));
        assert!(!pending.acknowledged(&a, at(4)));
        assert!(pending.acknowledged(&a, at(7)));
        assert!(!pending.acknowledged(&a, at(6)));
        assert_eq!(pending.known("a"), Some(at(7)));
        assert_eq!(acknowledged(&mut pending), [("a".to_owned(), at(7))]);
        assert!(!pending.waits(true));
    }

    #[test]
    fn an_end_takes_what_waits_with_it_and_a_new_beginning_starts_afresh() {
        let mut pending = Pending::default();
        let (a, id) = (incarnation("a", 1), SubscriptionId::from("a"));
        pending.begun(a.clone(), at(1));
        pending.acknowledged(&a, at(2));
        pending.ended(id.clone(), at(3));
        assert!(!pending.acknowledged(&a, at(4)), "late");
        pending.begun(incarnation("a", 5), at(5));
        assert!(!pending.acknowledged(&a, at(6)), "another's");
        let work = pending.take();
        assert!(work.structural);
        assert_eq!(work.changes.ended, [(id.clone(), at(3))]);
        let again = Beginning {
            at: at(5),
            seen: true,
        };
        assert_eq!(work.changes.begun, [(id, again)]);
        assert_eq!(work.changes.acknowledged, []);
    }

    #[test]
    fn whoever_takes_the_id_over_goes_on_with_the_position_and_so_do_those_who_stay() {
        let mut pending = Pending::default();
        let (before, after) = (incarnation("a", 1), incarnation("a", 5));
        pending.begun(before.clone(), at(1));
        assert!(pending.acknowledged(&after, at(6)));
        assert!(pending.acknowledged(&before, at(7)));
        pending.replaced(std::slice::from_ref(&after), at(8));
        assert!(pending.acknowledged(&before, at(9)));
        pending.ended("a".into(), at(10));
        pending.begun(incarnation("a", 11), at(11));
        for gone in [before, after] {
            assert!(!pending.acknowledged(&gone, at(12)));
        }
    }

    #[test]
    fn what_was_lost_is_written_again_as_far_as_it_is_known() {
        let mut pending = Pending::default();
        pending.begun(incarnation("a", 1), at(1));
        pending.acknowledged(&incarnation("a", 1), at(5));
        pending.replaced(&[incarnation("a", 1), incarnation("b", 0)], at(9));
        pending.take();
        pending.lost();
        let mut begun = pending.take().changes.begun;
        begun.sort_unstable_by_key(|(id, _)| id.to_string());
        let found = |at| Beginning { at, seen: false };
        let expected = [
            ("a".into(), found(at(5))),
            ("b".into(), found(Position::START)),
        ];
        assert_eq!(begun, expected);
    }

    #[test]
    fn a_whole_forgets_who_is_gone_and_keeps_what_is_known_of_the_others() {
        let mut pending = Pending::default();
        for id in ["a", "b"] {
            pending.begun(incarnation(id, 1), at(1));
            pending.acknowledged(&incarnation(id, 1), at(2));
        }
        pending.replaced(&[incarnation("b", 1), incarnation("c", 0)], at(9));
        assert_eq!(pending.known("a"), None);
        assert_eq!(pending.known("b"), Some(at(2)));
        assert_eq!(pending.known("c"), Some(Position::START));
        assert_eq!(acknowledged(&mut pending), [("b".to_owned(), at(2))]);
    }
}
