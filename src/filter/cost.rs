//! The cost of a match, in steps.
//!
//! A step stands for a nanosecond of work, or a few. Steps are counted before the work is done: for each element
//! visited, each value tested, and by the length of compared values. They depend on the filter and the document alone,
//! so that every node and every replay counts alike.

use std::convert::Infallible;
use std::fmt;

/// Most steps of one filter on one document.
pub(crate) const MOST_STEPS: u64 = 100_000_000;

/// Bytes added to an event's size, so that small events are never too large for an index of ordinary filters.
const SMALL_EVENT_BYTES: usize = 64 * 1024;

/// Most look-ups of a value in an array, on average.
const LOOKS_PER_VISIT: usize = 4;

/// The bounds of the work that the filters of an index do on one event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budgets {
    /// Most steps of a filter in the first round, before it is deferred.
    pub(crate) first_steps: u64,
    /// Most steps of a filter in the second round.
    pub(crate) most: u64,
    /// Steps of all filters together, the last one not counted. Half of them are for the second round. A filter that
    /// gets none of them is not blamed.
    pub(crate) together: u64,
    /// Visits of the index itself in the event's arrays, for each byte of the event: an element is visited once for
    /// every path that leads there.
    pub(crate) visits_per_byte: usize,
    /// Steps for which a filter is tried where the visits do not suffice, before it counts as a candidate.
    pub(crate) glance: u64,
}

impl Budgets {
    /// Returns the share of [`together`](Self::together) that is spent by worst cases before steps are counted.
    pub(crate) fn uncounted(&self) -> u64 {
        self.together / 4
    }

    /// Returns the share of [`together`](Self::together) for the first round.
    pub(crate) fn first_round(&self) -> u64 {
        self.together / 2
    }

    /// Returns the most visits of the index in the arrays of an event of so many bytes.
    pub(crate) fn visits(&self, bytes: usize) -> usize {
        self.visits_per_byte
            .saturating_mul(bytes + SMALL_EVENT_BYTES)
    }

    /// Returns the most look-ups of values in its arrays. A value that is looked up together with several others counts
    /// as often.
    pub(crate) fn looks(&self, bytes: usize) -> usize {
        self.visits(bytes).saturating_mul(LOOKS_PER_VISIT)
    }
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            first_steps: 500_000,
            most: MOST_STEPS,
            together: 500_000_000,
            visits_per_byte: 1,
            glance: 5_000,
        }
    }
}

/// A budget of steps for one filter on one document.
///
/// The default is the bound of a subscription on one event: 100,000,000 steps, some tenths of a second. Filters and
/// events that people write take less than a thousandth of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    most: u64,
    left: u64,
}

impl Steps {
    /// Makes a budget of `most` steps.
    pub fn new(most: u64) -> Self {
        Self { most, left: most }
    }

    /// Returns the steps that are left.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Returns the steps that were taken: all of them, once a match was too expensive.
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

/// The error of a filter that takes more steps on a document than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooExpensive;

impl fmt::Display for TooExpensive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("The filter is too expensive for the document.")
    }
}

impl std::error::Error for TooExpensive {}

/// A payer of steps.
pub(crate) trait Meter {
    /// The error of a match that cannot be paid for.
    type Over;

    /// Pays for `steps` that are about to be taken.
    fn charge(&mut self, steps: usize) -> Result<(), Self::Over>;
}

/// A meter without a limit, for matches whose worst case is known to fit.
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

/// Unwraps the answer of a match that [`Free`] paid for.
pub(crate) fn sure(answer: Result<bool, Infallible>) -> bool {
    match answer {
        Ok(answer) => answer,
    }
}
