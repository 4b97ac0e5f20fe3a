//! One event's turn, where a filter may be expensive, or all of them together.
//!
//! A filter whose match is known to cost little is run as ever, and counts as the most that it can take.
//! Once many have, it counts as what it takes. One that may be too expensive is counted from the
//! event's bytes alone, so that a lone filter counts the same. Whether it is must not
//! depend on the ways by which events find it, so such filters are tried on every event.
//!
//! Who comes first follows from how an index was filled. So each is tried with no more than its share of half
//! of what an event may take, and what costs little is decided in every index. Those that need more wait, and
//! go on in an order that every index shares, the lightest first. Where all together have taken what an event
//! may take, nobody is blamed for that: of those that the event found it is told that they are undecided,
//! and the others do not match.

use super::super::cost::{Budgets, Steps, TooExpensive};
use super::event::Event;
use super::program;
use super::records::Record;
use super::run::{Plain, Run};

/// What the filters took on an event that had to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effort<K> {
    /// How many steps together.
    pub steps: u64,
    /// The key of the one that took most, and how many.
    pub dearest: Option<(K, u64)>,
    /// The keys of those that may match, and for which nothing was left of what all together may take.
    pub undecided: Vec<K>,
}

impl<K> Default for Effort<K> {
    fn default() -> Self {
        Self {
            steps: 0,
            dearest: None,
            undecided: Vec::new(),
        }
    }
}

/// A filter that waits.
struct Waiting<'t, K> {
    record: &'t Record<K>,
    /// Whether the event found it: all others do not match, or are too expensive.
    found: bool,
}

/// A turn.
pub(super) struct Turn<'t, 'd, K> {
    run: &'t Run<'t, &'t Event<'d>>,
    budgets: Budgets,
    found: &'t mut Vec<K>,
    dear: &'t mut Vec<K>,
    waiting: Vec<Waiting<'t, K>>,
    /// Steps of all filters so far.
    taken: u64,
    /// How many are still to be tried for the first time.
    expected: u64,
    effort: Effort<K>,
}

/// What it takes to get hold of one filter.
const FETCHED: u64 = 50;

impl<'t, 'd, K: Copy> Turn<'t, 'd, K> {
    /// The beginning of a turn in which `taken` steps were taken before.
    pub(super) fn new(
        run: &'t Run<'t, &'t Event<'d>>,
        budgets: Budgets,
        taken: u64,
        found: &'t mut Vec<K>,
        dear: &'t mut Vec<K>,
    ) -> Self {
        Self {
            run,
            budgets,
            found,
            dear,
            waiting: Vec::new(),
            taken,
            expected: 0,
            effort: Effort::default(),
        }
    }

    /// Says how many are to be tried.
    pub(super) fn expect(&mut self, number: usize) {
        self.expected = number as u64;
    }

    /// Tries a filter that the event found.
    pub(super) fn candidate(&mut self, record: &'t Record<K>) {
        let most = record.weight.most_steps(self.run.event.document().len());
        let fits = self.taken.saturating_add(most) <= self.budgets.uncounted();
        if fits && most <= self.budgets.ordinary {
            self.taken += most;
            self.expected = self.expected.saturating_sub(1);
            return self.settle(record, self.run.holds(&record.program));
        }
        self.first(record, true);
    }

    /// Tries a filter that may be too expensive, though the event did not find it.
    pub(super) fn other(&mut self, record: &'t Record<K>) {
        self.first(record, false);
    }

    /// Tries a filter for the first time, with its share: it waits if it needs more.
    fn first(&mut self, record: &'t Record<K>, found: bool) {
        let left = self.budgets.before_waiting().saturating_sub(self.taken);
        let share = left / self.expected.max(1);
        self.expected = self.expected.saturating_sub(1);
        let mut steps = Steps::new(share.min(self.budgets.ordinary));
        match self.count(record, &mut steps) {
            Ok(matches) => self.settle(record, matches),
            Err(TooExpensive) => self.waiting.push(Waiting { record, found }),
        }
        self.take(steps.spent());
    }

    fn take(&mut self, steps: u64) {
        self.taken = self.taken.saturating_add(steps + FETCHED);
    }

    /// Tries those that wait, those first that the event found. The order is the same on every node.
    pub(super) fn finish(mut self) -> Effort<K> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let (paths, opaques) = (self.run.paths, self.run.opaques);
        let order = |waiting: &Waiting<'_, K>| (!waiting.found, waiting.record.weight);
        waiting.sort_unstable_by_key(order);
        for equals in waiting.chunk_by_mut(|a, b| order(a) == order(b)) {
            if self.taken < self.budgets.together {
                equals.sort_by_cached_key(|equal| {
                    program::content(&equal.record.program, paths, opaques)
                });
            }
            for waiting in equals {
                self.second(waiting);
            }
        }
        self.effort
    }

    /// Tries a filter that has waited, where anything is left.
    fn second(&mut self, Waiting { record, found }: &Waiting<'t, K>) {
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
            Err(TooExpensive) => self.dear.extend_from_slice(record.keys.as_slice()),
        }
        let steps = steps.spent();
        self.take(steps);
        self.effort.steps += steps;
        if self.effort.dearest.is_none_or(|(_, most)| steps > most) {
            let key = record.keys.as_slice().first();
            self.effort.dearest = key.map(|key| (*key, steps));
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
