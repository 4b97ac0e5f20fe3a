//! What a match costs.
//!
//! A step stands for a nanosecond of work, or a few. Steps are counted where the work is known before
//! it is done: for each element looked at, each value tested, by the length of what is compared. They
//! depend on the filter and the document alone, so that every node and every replay counts alike.

use std::convert::Infallible;
use std::fmt;

/// How many steps a filter may take on one document.
pub(crate) const MOST_STEPS: u64 = 100_000_000;

/// So that small events are never too large for an index of ordinary filters.
const SMALL_EVENT: usize = 64 * 1024;

/// How often a value in an array is looked up, on average, before that is too much.
const LOOKS_PER_VISIT: usize = 4;

/// What the filters of an index may take on one event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budgets {
    /// Each of them, before it has to wait for the others.
    pub(crate) ordinary: u64,
    /// Each of them that has waited.
    pub(crate) most: u64,
    /// All of them together, the last of them not counted. Nobody is blamed where it ends. Half of it is for
    /// those that have waited.
    pub(crate) together: u64,
    /// The index itself in the event's arrays, for each byte: an element is visited once for every path
    /// that leads there.
    pub(crate) visits_per_byte: usize,
    /// What a filter is tried for where they do not suffice, before it counts as found.
    pub(crate) glance: u64,
}

impl Budgets {
    /// How much of what all may take together is spent by what each can take at most, before steps are counted.
    pub(crate) fn uncounted(&self) -> u64 {
        self.together / 4
    }

    /// How much of it is spent before all that are left wait.
    pub(crate) fn before_waiting(&self) -> u64 {
        self.together / 2
    }

    /// How many visits the index may make in the arrays of an event of so many bytes.
    pub(crate) fn visits(&self, bytes: usize) -> usize {
        self.visits_per_byte.saturating_mul(bytes + SMALL_EVENT)
    }

    /// How many values in its arrays it may look up, each as often as it is looked up with others.
    pub(crate) fn looks(&self, bytes: usize) -> usize {
        self.visits(bytes).saturating_mul(LOOKS_PER_VISIT)
    }
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            ordinary: 500_000,
            most: MOST_STEPS,
            together: 500_000_000,
            visits_per_byte: 1,
            glance: 5_000,
        }
    }
}

/// A budget of steps for one filter on one document, and what is left of it.
///
/// The default is what a subscription may take on one event: 100,000,000 steps, some
/// tenths of a second. Filters and events that people write take less than a thousandth of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    most: u64,
    left: u64,
}

impl Steps {
    /// A budget of `most` steps.
    pub fn new(most: u64) -> Self {
        Self { most, left: most }
    }

    /// How many steps are left.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// How many steps were taken. All of them, once something was too expensive.
    pub fn spent(&self) -> u64 {
        self.most - self.left
    }

    /// Takes steps that are known to be left.
    pub(crate) fn take(&mut self, steps: u64) {
        self.left = self.left.saturating_sub(steps);
    }
}

impl Default for Steps {
    fn default() -> Self {
        Self::new(MOST_STEPS)
    }
}

/// A filter takes more steps on a document than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooExpensive;

impl fmt::Display for TooExpensive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("The filter is too expensive for the document.")
    }
}

impl std::error::Error for TooExpensive {}

/// Pays for steps.
pub(crate) trait Meter {
    /// The end of a match that cannot be paid for.
    type Over;

    /// Pays for `steps` that are about to be taken.
    fn charge(&mut self, steps: usize) -> Result<(), Self::Over>;
}

/// Pays for everything, where a bound is known to hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Free;

impl Meter for Free {
    type Over = Infallible;

    #[inline]
    fn charge(&mut self, _: usize) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Meter for Steps {
    type Over = TooExpensive;

    fn charge(&mut self, steps: usize) -> Result<(), TooExpensive> {
        let left = self.left.checked_sub(steps as u64);
        self.left = left.unwrap_or(0);
        left.map(drop).ok_or(TooExpensive)
    }
}

/// The answer of what was paid for by [`Free`].
pub(crate) fn sure(answer: Result<bool, Infallible>) -> bool {
    match answer {
        Ok(answer) => answer,
    }
}
