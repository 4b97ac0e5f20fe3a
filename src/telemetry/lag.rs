//! The lag of this node behind the database: the age of the oldest change that is not applied.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The lag of a node, shared by the feed, which receives, and those who ask. Changes count from their commit until
/// they are applied. If none wait, a database that is silent for too long counts.
#[derive(Clone, Default, Debug)]
pub(crate) struct Lag(Arc<Mutex<State>>);

#[derive(Default, Debug)]
struct State {
    /// Received and not applied, the oldest first.
    unapplied: VecDeque<Received>,
    next_number: u64,
    /// The time by which the database sends more, if it can be reached.
    due: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Received {
    number: u64,
    at: Instant,
    /// Its age at that time.
    age: Duration,
}

/// A change that was received and not applied yet. Dropping this marks it as applied.
#[derive(Debug)]
pub(crate) struct Unapplied {
    lag: Lag,
    number: u64,
}

impl Lag {
    /// Notes a change that arrived at `at`, `age` old. More must come until `due`.
    pub(crate) fn received(&self, at: Instant, age: Duration, due: Instant) -> Unapplied {
        let mut state = self.lock();
        let number = state.next_number;
        state.next_number += 1;
        state.due = Some(due);
        state.unapplied.push_back(Received { number, at, age });
        drop(state);
        Unapplied {
            lag: self.clone(),
            number,
        }
    }

    /// Returns the age of the oldest change that this node has not applied.
    pub(crate) fn now(&self) -> Duration {
        let state = self.lock();
        match (state.unapplied.front(), state.due) {
            (Some(oldest), _) => oldest.at.elapsed() + oldest.age,
            (None, Some(due)) => Instant::now().saturating_duration_since(due),
            (None, None) => Duration::ZERO,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Unapplied {
    fn drop(&mut self) {
        let mut state = self.lag.lock();
        state.unapplied.retain(|one| one.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_change_that_is_not_applied_is_what_counts() {
        let lag = Lag::default();
        assert_eq!(lag.now(), Duration::ZERO);
        let (now, hour) = (Instant::now(), Duration::from_hours(1));
        let old = lag.received(now, 2 * hour, now + hour);
        let new = lag.received(now, hour, now + hour);
        assert!(lag.now() >= 2 * hour);
        drop(old);
        assert!((hour..2 * hour).contains(&lag.now()));
        drop(new);
        assert_eq!(lag.now(), Duration::ZERO, "the database has nothing to say");
    }

    #[test]
    fn silence_beyond_what_may_be_counts() {
        let lag = Lag::default();
        let now = Instant::now();
        drop(lag.received(now, Duration::ZERO, now));
        while lag.now() == Duration::ZERO {}
    }
}
