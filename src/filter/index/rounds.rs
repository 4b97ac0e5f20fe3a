//! The filters of one event, tried in two rounds if one of them, or all together, may be expensive.
//!
//! A filter whose worst case is cheap is run as usual, and charged with that worst case. Once many have been, each
//! is charged with its real steps. The steps of a filter that may be too expensive are counted on the event's bytes
//! alone, as a lone filter counts them. Its verdict must not depend on how events find it, so such filters are
//! tried on every event.
//!
//! The order of the first round depends on how the index was filled. Each filter therefore gets at most its share
//! of half the event's budget, so that cheap ones are decided in every index. Filters that need more are deferred.
//! They go on in the second round, in an order that every index shares: the lightest first. Once the event's budget
//! is spent, no filter is blamed for that: those that the event found are reported as undecided, and the others do
//! not match.

use super::super::cost::{Budgets, Steps, TooExpensive};
use super::event::Event;
use super::program;
use super::records::Record;
use super::run::{Plain, Run};

/// The work of the deferred filters on one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effort<K> {
    /// The steps of all of them.
    pub steps: u64,
    /// The key of the one that took most steps, and their number.
    pub most_expensive: Option<(K, u64)>,
    /// The keys of those that may match, and for which nothing was left of the event's budget.
    pub undecided: Vec<K>,
}

impl<K> Default for Effort<K> {
    fn default() -> Self {
        Self {
            steps: 0,
            most_expensive: None,
            undecided: Vec::new(),
        }
    }
}

/// A filter that needs more than its share.
struct Deferred<'t, K> {
    record: &'t Record<K>,
    /// True if the event found it. All others do not match, or are too expensive.
    found: bool,
}

/// The state of the two rounds.
pub(super) struct Rounds<'t, 'd, K> {
    run: &'t Run<'t, &'t Event<'d>>,
    budgets: Budgets,
    found: &'t mut Vec<K>,
    too_expensive: &'t mut Vec<K>,
    deferred: Vec<Deferred<'t, K>>,
    /// The steps of all filters so far.
    taken: u64,
    /// The number of filters that the first round has still to try.
    expected: u64,
    effort: Effort<K>,
}

/// The steps to fetch one filter from memory.
const FETCH_STEPS: u64 = 50;

impl<'t, 'd, K: Copy> Rounds<'t, 'd, K> {
    /// Begins, with `taken` steps taken before.
    pub(super) fn new(
        run: &'t Run<'t, &'t Event<'d>>,
        budgets: Budgets,
        taken: u64,
        found: &'t mut Vec<K>,
        too_expensive: &'t mut Vec<K>,
    ) -> Self {
        Self {
            run,
            budgets,
            found,
            too_expensive,
            deferred: Vec::new(),
            taken,
            expected: 0,
            effort: Effort::default(),
        }
    }

    /// Sets the number of filters of the first round.
    pub(super) fn expect(&mut self, number: usize) {
        self.expected = number as u64;
    }

    /// Tries a filter that the event found.
    pub(super) fn candidate(&mut self, record: &'t Record<K>) {
        let most = record.weight.most_steps(self.run.event.document().len());
        let fits = self.taken.saturating_add(most) <= self.budgets.uncounted();
        if fits && most <= self.budgets.first_steps {
            self.taken += most;
            self.expected = self.expected.saturating_sub(1);
            return self.settle(record, self.run.holds(&record.program));
        }
        self.first_round(record, true);
    }

    /// Tries a filter that may be too expensive, though the event did not find it.
    pub(super) fn other(&mut self, record: &'t Record<K>) {
        self.first_round(record, false);
    }

    /// Tries a filter with its share of the first round, and defers it if it needs more.
    fn first_round(&mut self, record: &'t Record<K>, found: bool) {
        let left = self.budgets.first_round().saturating_sub(self.taken);
        let share = left / self.expected.max(1);
        self.expected = self.expected.saturating_sub(1);
        let mut steps = Steps::new(share.min(self.budgets.first_steps));
        match self.count(record, &mut steps) {
            Ok(matches) => self.settle(record, matches),
            Err(TooExpensive) => self.deferred.push(Deferred { record, found }),
        }
        self.take(steps.spent());
    }

    fn take(&mut self, steps: u64) {
        self.taken = self.taken.saturating_add(steps + FETCH_STEPS);
    }

    /// Tries the deferred filters, those first that the event found. The order is the same on every node.
    pub(super) fn finish(mut self) -> Effort<K> {
        let mut deferred = std::mem::take(&mut self.deferred);
        let (paths, opaques) = (self.run.paths, self.run.opaques);
        let order = |deferred: &Deferred<'_, K>| (!deferred.found, deferred.record.weight);
        deferred.sort_unstable_by_key(order);
        for equals in deferred.chunk_by_mut(|a, b| order(a) == order(b)) {
            if self.taken < self.budgets.together {
                equals.sort_by_cached_key(|equal| {
                    program::content(&equal.record.program, paths, opaques)
                });
            }
            for deferred in equals {
                self.second_round(deferred);
            }
        }
        self.effort
    }

    /// Tries a deferred filter, if anything is left of the event's budget.
    fn second_round(&mut self, Deferred { record, found }: &Deferred<'t, K>) {
        if self.taken >= self.budgets.together {
            if *found {
                let undecided = &mut self.effort.undecided;
                undecided.extend_from_slice(record.keys.as_slice());
            }
            return;
        }
        let mut steps = Steps::new(self.budgets.most);
        match self.count(record, &mut steps) {
            Ok(matches) => self.settle(record, matches),
            Err(TooExpensive) => self.too_expensive.extend_from_slice(record.keys.as_slice()),
        }
        let steps = steps.spent();
        self.take(steps);
        self.effort.steps += steps;
        if self
            .effort
            .most_expensive
            .is_none_or(|(_, most)| steps > most)
        {
            let key = record.keys.as_slice().first();
            self.effort.most_expensive = key.map(|key| (*key, steps));
        }
    }

    fn settle(&mut self, record: &Record<K>, matches: bool) {
        if matches {
            self.found.extend_from_slice(record.keys.as_slice());
        }
    }

    fn count(&self, record: &Record<K>, steps: &mut Steps) -> Result<bool, TooExpensive> {
        let document = self.run.event.document();
        if record.weight.most_steps(document.len()) <= self.budgets.most {
            return self.run.counted(&record.program, steps);
        }
        let run = Run {
            event: Plain(document),
            paths: self.run.paths,
            opaques: self.run.opaques,
        };
        run.counted(&record.program, steps)
    }
}
