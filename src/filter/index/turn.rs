//! One event's turn, where a filter may be expensive.
//!
//! A filter whose match is known to cost little is run as ever. The others are counted, from the
//! event's bytes alone, so that a lone filter counts the same. Whether one is too expensive must not
//! depend on the ways by which events find it, so those that may be are tried on every event. Where all
//! together have taken what an event may take, nobody is blamed for that: of those that the event found
//! it is told that they are undecided, and the others do not match.

use super::super::cost::{Budgets, Steps, TooExpensive};
use super::event::Event;
use super::program;
use super::records::Record;
use super::run::{Plain, Run};

/// What the filters took on an event that are not ordinary.
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
    effort: Effort<K>,
}

impl<'t, 'd, K: Copy> Turn<'t, 'd, K> {
    /// The beginning of a turn.
    pub(super) fn new(
        run: &'t Run<'t, &'t Event<'d>>,
        budgets: Budgets,
        found: &'t mut Vec<K>,
        dear: &'t mut Vec<K>,
    ) -> Self {
        Self {
            run,
            budgets,
            found,
            dear,
            waiting: Vec::new(),
            effort: Effort::default(),
        }
    }

    /// Tries a filter that the event found.
    pub(super) fn candidate(&mut self, record: &'t Record<K>) {
        let most = record.weight.most_steps(self.run.event.document().len());
        if most <= self.budgets.ordinary {
            self.settle(record, self.run.holds(&record.program));
        } else {
            self.heavy(record, true);
        }
    }

    /// Tries a filter that may be too expensive, though the event did not find it.
    pub(super) fn other(&mut self, record: &'t Record<K>) {
        self.heavy(record, false);
    }

    /// Tries a filter that may be expensive: it waits if it is.
    fn heavy(&mut self, record: &'t Record<K>, found: bool) {
        match self.count(record, self.budgets.ordinary) {
            (Ok(matches), _) => self.settle(record, matches),
            (Err(TooExpensive), _) => self.waiting.push(Waiting { record, found }),
        }
    }

    /// Tries those that wait, those first that the event found. The order is the same on every node.
    pub(super) fn finish(mut self) -> Effort<K> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let (paths, opaques) = (self.run.paths, self.run.opaques);
        waiting.sort_by_cached_key(|Waiting { record, found }| {
            let content = program::content(&record.program, paths, opaques);
            (!found, record.weight, content)
        });
        for Waiting { record, found } in waiting {
            if self.effort.steps >= self.budgets.together {
                if found {
                    let undecided = &mut self.effort.undecided;
                    undecided.extend_from_slice(record.keys.as_slice());
                }
                continue;
            }
            let (matches, steps) = self.count(record, self.budgets.most);
            match matches {
                Ok(matches) => self.settle(record, matches),
                Err(TooExpensive) => self.dear.extend_from_slice(record.keys.as_slice()),
            }
            self.effort.steps += steps;
            if self.effort.dearest.is_none_or(|(_, most)| steps > most) {
                let key = record.keys.as_slice().first();
                self.effort.dearest = key.map(|key| (*key, steps));
            }
        }
        self.effort
    }

    fn settle(&mut self, record: &Record<K>, matches: bool) {
        if matches {
            self.found.extend_from_slice(record.keys.as_slice());
        }
    }

    fn count(&self, record: &Record<K>, most: u64) -> (Result<bool, TooExpensive>, u64) {
        let run = Run {
            event: Plain(self.run.event.document()),
            paths: self.run.paths,
            opaques: self.run.opaques,
        };
        let mut steps = Steps::new(most);
        let matches = run.counted(&record.program, &mut steps);
        (matches, steps.spent())
    }
}
