//! One event's turn, where a filter may be expensive.
//!
//! A filter whose match is known to cost little is run as ever. The others are counted, from the
//! event's bytes alone, so that a lone filter counts the same. Whether one is too expensive must not
//! depend on the ways by which events find it, so those that may be are tried on every event.

use super::super::cost::{Budgets, Steps, TooExpensive};
use super::event::Event;
use super::records::Record;
use super::run::{Plain, Run};

/// What the filters took on an event that are not ordinary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort<K> {
    /// How many steps together.
    pub steps: u64,
    /// The key of the one that took most, and how many.
    pub dearest: Option<(K, u64)>,
}

impl<K> Default for Effort<K> {
    fn default() -> Self {
        Self {
            steps: 0,
            dearest: None,
        }
    }
}

/// A turn.
pub(super) struct Turn<'t, 'd, K> {
    run: &'t Run<'t, &'t Event<'d>>,
    budgets: Budgets,
    found: &'t mut Vec<K>,
    dear: &'t mut Vec<K>,
    waiting: Vec<&'t Record<K>>,
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

    /// Tries a filter that the event found. Those that may be too expensive come by themselves.
    pub(super) fn candidate(&mut self, record: &'t Record<K>) {
        let most = record.weight.most_steps(self.run.event.document().len());
        if most <= self.budgets.ordinary {
            self.settle(record, self.run.holds(&record.program));
        } else if most <= self.budgets.most {
            self.heavy(record);
        }
    }

    /// Tries a filter that may be expensive: it waits if it is.
    pub(super) fn heavy(&mut self, record: &'t Record<K>) {
        match self.count(record, self.budgets.ordinary) {
            (Ok(matches), _) => self.settle(record, matches),
            (Err(TooExpensive), _) => self.waiting.push(record),
        }
    }

    /// Tries those that wait.
    pub(super) fn finish(mut self) -> Effort<K> {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_by_key(|record| record.weight);
        for record in waiting {
            if self.effort.steps >= self.budgets.together {
                self.dear.extend_from_slice(record.keys.as_slice());
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
