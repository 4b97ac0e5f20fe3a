//! The deletes of the last day, as far as they fit. Pure.

use std::collections::{BTreeMap, HashMap};

use crate::{
    access::{Holder, Right, Sight},
    position::Position,
    store::{Deletion, TEARDOWN_MEMORY},
};

/// Deletes that are kept at most: some 20 MB.
const MAX_DELETES: usize = 100_000;

/// The last end of a right, as far as this node knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LastDelete {
    /// `None` if there was none after `since`.
    pub deletion: Option<Deletion>,
    /// The holder of the right; `None` if the oplog alone tells of the delete.
    pub holder: Option<Holder>,
    /// Every delete after this is known; `None` before the first load.
    pub since: Option<Position>,
}

impl LastDelete {
    /// Returns the delete, if the caller had sight of the subscription. Of one that the oplog alone tells, nobody knows
    /// whose it was.
    pub(crate) fn seen_by(&self, id: &str, sight: &Sight) -> Option<Deletion> {
        let saw = match &self.holder {
            Some(holder) => sight.saw(id, holder),
            None => sight.is_everything(),
        };
        self.deletion.filter(|_| saw)
    }
}

/// The last end of each right, and the order in which they are dropped.
#[derive(Debug)]
pub(super) struct RecentDeletes {
    deletions: HashMap<Right, Known>,
    order: BTreeMap<(Position, u64), Right>,
    numbered: u64,
    since: Option<Position>,
    most: usize,
}

/// The last end of a right.
#[derive(Debug)]
struct Known {
    deletion: Deletion,
    holder: Option<Holder>,
    /// It is kept for a day from then on.
    from: Position,
}

impl Default for RecentDeletes {
    fn default() -> Self {
        Self {
            deletions: HashMap::new(),
            order: BTreeMap::new(),
            numbered: 0,
            since: None,
            most: MAX_DELETES,
        }
    }
}

impl RecentDeletes {
    /// Notes that every delete after `at` will be added. Later loads change nothing about that.
    pub(super) fn loaded(&mut self, at: Position) {
        self.since.get_or_insert(at);
    }

    /// Notes that deletes from before the load were added, back to `since`. Counts only if none had to be dropped.
    pub(super) fn old_added_since(&mut self, since: Position) {
        if self.order.len() < self.most {
            self.since = self.since.map(|known| known.min(since));
        }
    }

    /// Adds a delete, unless a later one of the same right is known.
    pub(super) fn add(&mut self, id: Right, deletion: Deletion, holder: Option<Holder>) {
        let known = self.deletions.get(&id);
        if known.is_some_and(|known| known.deletion.at >= deletion.at) {
            return;
        }
        let from = deletion.at;
        let known = Known {
            deletion,
            holder,
            from,
        };
        self.insert(id, known);
    }

    /// Keeps what is known of a right for a day from `at` on. If it is only known that it ended, that was before `at`.
    pub(super) fn keep(&mut self, id: Right, holder: Holder, at: Position) {
        let known = self.deletions.remove(&id);
        let deletion = known.map_or(
            Deletion {
                at,
                wall_time: None,
                ending: None,
            },
            |known| known.deletion,
        );
        let known = Known {
            deletion,
            holder: Some(holder),
            from: at,
        };
        self.insert(id, known);
    }

    fn insert(&mut self, id: Right, known: Known) {
        self.numbered += 1;
        self.order.insert((known.from, self.numbered), id.clone());
        self.deletions.insert(id, known);
        let latest = self.order.last_key_value().map(|((at, _), _)| *at);
        while let Some(((at, _), _)) = self.order.first_key_value()
            && (self.order.len() > self.most || latest.is_some_and(|l| is_a_day_before(*at, l)))
        {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        let Some(((at, _), id)) = self.order.pop_first() else {
            return;
        };
        // A later delete of the same right stays.
        if self
            .deletions
            .get(&id)
            .is_some_and(|known| known.from == at)
        {
            self.deletions.remove(&id);
        }
        self.since = self.since.map(|since| since.max(at));
    }

    pub(super) fn find(&self, right: &Right) -> LastDelete {
        let known = self.deletions.get(right);
        LastDelete {
            deletion: known.map(|known| known.deletion),
            holder: known.and_then(|known| known.holder.clone()),
            since: self.since,
        }
    }
}

fn is_a_day_before(at: Position, later: Position) -> bool {
    let seconds = |position: Position| u64::from(position.cluster_time().time);
    seconds(at) + TEARDOWN_MEMORY.as_secs() < seconds(later)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Ending;
    use bson::{DateTime, Timestamp};

    fn at(time: u32) -> Position {
        Position::at(Timestamp { time, increment: 0 })
    }

    fn deletion(time: u32) -> Deletion {
        Deletion {
            at: at(time),
            wall_time: Some(DateTime::from_millis(0)),
            ending: Some(Ending::Deleted),
        }
    }

    fn recent(most: usize) -> RecentDeletes {
        let mut recent = RecentDeletes {
            most,
            ..RecentDeletes::default()
        };
        recent.loaded(at(100));
        recent
    }

    fn check(recent: &RecentDeletes, id: &str, time: Option<u32>, since: u32) {
        let expected = LastDelete {
            deletion: time.map(deletion),
            holder: None,
            since: Some(at(since)),
        };
        assert_eq!(recent.find(&Right::subscription(id)), expected, "{id}");
    }

    #[test]
    fn the_oldest_is_forgotten_first_and_the_memory_says_how_far_it_reaches() {
        let mut recent = recent(2);
        for (id, time) in [("a", 101), ("b", 102), ("c", 103)] {
            recent.add(Right::subscription(id), deletion(time), None);
        }
        check(&recent, "a", None, 101);
        check(&recent, "b", Some(102), 101);
        check(&recent, "c", Some(103), 101);
    }

    #[test]
    fn of_an_id_that_is_used_again_the_last_delete_counts() {
        let mut recent = recent(2);
        recent.add(Right::subscription("a"), deletion(101), None);
        recent.add(Right::subscription("a"), deletion(105), None);
        recent.add(Right::subscription("a"), deletion(90), None);
        check(&recent, "a", Some(105), 100);
        recent.add(Right::subscription("b"), deletion(106), None);
        check(&recent, "a", Some(105), 101);
    }

    #[test]
    fn what_is_kept_stays_for_a_day_from_then_on() {
        let mut recent = recent(3);
        let day = 86_401;
        recent.add(Right::subscription("a"), deletion(101), None);
        recent.keep(Right::subscription("a"), Holder::default(), at(102));
        recent.keep(Right::subscription("b"), Holder::default(), at(103));
        recent.add(Right::subscription("c"), deletion(101 + day), None);
        let found = |id| recent.find(&Right::subscription(id));
        assert_eq!(found("a").deletion, Some(deletion(101)));
        assert_eq!(found("a").holder, Some(Holder::default()));
        let b = found("b").deletion.unwrap();
        assert_eq!((b.at, b.was_seen()), (at(103), false));
        recent.add(Right::subscription("c"), deletion(102 + day), None);
        assert_eq!(recent.find(&Right::subscription("a")).deletion, None);
        assert!(recent.find(&Right::subscription("b")).deletion.is_some());
    }

    #[test]
    fn deletes_from_before_the_load_reach_further_back() {
        let mut recent = recent(3);
        recent.add(Right::subscription("a"), deletion(50), None);
        recent.old_added_since(at(40));
        check(&recent, "a", Some(50), 40);
        check(&recent, "b", None, 40);
        recent.add(Right::subscription("c"), deletion(50 + 86_401), None);
        check(&recent, "a", None, 50);
    }

    #[test]
    fn what_overflowed_does_not_claim_deletes_from_before_the_load() {
        let mut recent = recent(2);
        for (id, time) in [("a", 50), ("b", 101), ("c", 102)] {
            recent.add(Right::subscription(id), deletion(time), None);
        }
        recent.old_added_since(at(40));
        check(&recent, "a", None, 100);
    }
}
