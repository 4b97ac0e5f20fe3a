//! What is known of each durable subscription, and what of it waits to be written. Pure.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::{
    position::Position,
    store::{Beginning, PositionChanges, Whole},
    subscription::SubscriptionId,
};

/// The durable subscriptions, and the changes since the last write.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// The furthest position known here; [`Position::START`] if only the database knows more.
    known: HashMap<SubscriptionId, Position>,
    whole: Option<Whole>,
    ended: HashMap<SubscriptionId, Position>,
    begun: HashMap<SubscriptionId, Beginning>,
    acknowledged: HashMap<SubscriptionId, Position>,
    waiters: Vec<oneshot::Sender<()>>,
}

/// One write.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) changes: PositionChanges,
    /// Whether it has beginnings or ends.
    pub(super) structural: bool,
    pub(super) waiters: Vec<oneshot::Sender<()>>,
}

impl Pending {
    pub(super) fn begun(&mut self, id: SubscriptionId, at: Position) {
        self.acknowledged.remove(&id);
        self.known.insert(id.clone(), at);
        self.begun.insert(id, Beginning { at, seen: true });
    }

    pub(super) fn ended(&mut self, id: SubscriptionId, at: Position) {
        self.known.remove(&id);
        self.acknowledged.remove(&id);
        self.begun.remove(&id);
        self.ended.insert(id, at);
    }

    /// Nothing is stored any more: all that is known is to be written. Of a subscription that has
    /// acknowledged nothing here, only its beginning can be known: what it acknowledged comes again.
    pub(super) fn lost(&mut self) {
        for (id, at) in &self.known {
            let found = Beginning {
                at: *at,
                seen: false,
            };
            self.begun.entry(id.clone()).or_insert(found);
            // Another node, which knows less, may write the beginning.
            if *at > Position::START {
                self.acknowledged.insert(id.clone(), *at);
            }
        }
    }

    /// Replaces everything.
    pub(super) fn whole(&mut self, ids: Vec<SubscriptionId>, at: Position) {
        let mut known = HashMap::with_capacity(ids.len());
        for id in &ids {
            let before = self.known.remove(id);
            known.insert(id.clone(), before.unwrap_or(Position::START));
            let found = Beginning { at, seen: false };
            self.begun.entry(id.clone()).or_insert(found);
        }
        self.begun.retain(|id, _| known.contains_key(id));
        self.acknowledged.retain(|id, _| known.contains_key(id));
        self.known = known;
        self.whole = Some(Whole {
            at,
            ids: ids.into_iter().collect(),
        });
    }

    /// Whether that is news.
    pub(super) fn acknowledged(&mut self, id: &SubscriptionId, at: Position) -> bool {
        match self.known.get_mut(id) {
            Some(known) if *known < at => {
                *known = at;
                self.acknowledged.insert(id.clone(), at);
                true
            }
            _ => false,
        }
    }

    pub(super) fn known(&self, id: &str) -> Option<Position> {
        self.known.get(id).copied()
    }

    /// Whether anything waits: beginnings and ends, or with `all` anything at all.
    pub(super) fn waits(&self, all: bool) -> bool {
        self.whole.is_some()
            || !self.ended.is_empty()
            || !self.begun.is_empty()
            || (all && !self.acknowledged.is_empty())
    }

    /// Someone wants to know when what waits is written.
    pub(super) fn add_waiter(&mut self, waiter: oneshot::Sender<()>) {
        self.waiters.push(waiter);
    }

    /// Everything that waits, to be written.
    pub(super) fn take(&mut self) -> Work {
        Work {
            structural: self.waits(false),
            changes: PositionChanges {
                whole: self.whole.take(),
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

    fn acknowledged(pending: &mut Pending) -> Vec<(String, Position)> {
        let changes = pending.take().changes;
        let text = |(id, at): (SubscriptionId, Position)| (id.to_string(), at);
        changes.acknowledged.into_iter().map(text).collect()
    }

    #[test]
    fn a_position_moves_forward_only_and_only_for_durable_subscriptions() {
        let mut pending = Pending::default();
        let id = SubscriptionId::from("a");
        assert!(!pending.acknowledged(&id, at(1)), "nobody knows it");
        pending.begun(id.clone(), at(5));
        assert!(!pending.acknowledged(&id, at(4)));
        assert!(pending.acknowledged(&id, at(7)));
        assert!(!pending.acknowledged(&id, at(6)));
        assert_eq!(pending.known("a"), Some(at(7)));
        assert_eq!(acknowledged(&mut pending), [("a".to_owned(), at(7))]);
        assert!(!pending.waits(true));
    }

    #[test]
    fn an_end_takes_what_waits_with_it_and_a_new_beginning_starts_afresh() {
        let mut pending = Pending::default();
        let id = SubscriptionId::from("a");
        pending.begun(id.clone(), at(1));
        pending.acknowledged(&id, at(2));
        pending.ended(id.clone(), at(3));
        assert!(!pending.acknowledged(&id, at(4)), "late");
        pending.begun(id.clone(), at(5));
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
    fn what_was_lost_is_written_again_as_far_as_it_is_known() {
        let mut pending = Pending::default();
        pending.begun("a".into(), at(1));
        pending.acknowledged(&"a".into(), at(5));
        pending.whole(vec!["a".into(), "b".into()], at(9));
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
            pending.begun(id.into(), at(1));
            pending.acknowledged(&id.into(), at(2));
        }
        pending.whole(vec!["b".into(), "c".into()], at(9));
        assert_eq!(pending.known("a"), None);
        assert_eq!(pending.known("b"), Some(at(2)));
        assert_eq!(pending.known("c"), Some(Position::START));
        assert_eq!(acknowledged(&mut pending), [("b".to_owned(), at(2))]);
    }
}
