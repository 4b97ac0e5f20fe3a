//! Waiting between attempts: longer each time, never in step with other clients.

use std::time::Duration;

/// The longest wait that a server can ask for.
const LONGEST_ASKED: Duration = Duration::from_mins(1);

/// Exponential back-off with full jitter.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    attempt: u32,
}

impl Backoff {
    /// Waits up to `first` before the first retry, up to `longest` later.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            attempt: 0,
        }
    }

    /// How often [`Backoff::next`] was asked since the last success.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempt
    }

    /// All is well again.
    pub(crate) fn reset(&mut self) {
        self.attempt = 0;
    }

    /// The next wait. Where the server asked for one (`Retry-After`), at least that (up to a
    /// minute), and some more, so that all who were asked do not come back at once.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let bound = self.first.saturating_mul(2u32.saturating_pow(self.attempt));
        self.attempt = self.attempt.saturating_add(1);
        let jitter = bound
            .min(self.longest)
            .mul_f64(rand::random_range(0.0..=1.0));
        asked.unwrap_or_default().min(LONGEST_ASKED) + jitter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_honour_what_was_asked() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(5));
        let mut backoff = Backoff::new(first, longest);
        assert!(backoff.next(None) <= first);
        for _ in 0..100 {
            assert!(backoff.next(None) <= longest);
        }
        let asked = Duration::from_secs(7);
        assert!(backoff.next(Some(asked)) >= asked);
        assert!(backoff.next(Some(Duration::from_hours(2))) <= LONGEST_ASKED + longest);
        backoff.reset();
        assert!(backoff.next(None) <= first);
        assert_eq!(backoff.attempts(), 1);
    }
}
