//! Waiting between attempts: longer each time, never in step with other clients.

use std::time::Duration;

/// The longest wait that the service can ask for.
const LONGEST_ASKED: Duration = Duration::from_mins(1);

/// Exponential back-off with full jitter.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    attempt: u32,
}

impl Backoff {
    /// Begins with waits of up to `first`, which double up to `longest`.
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            attempt: 0,
        }
    }

    /// Returns the waits since the last success.
    pub(super) fn attempts(&self) -> u32 {
        self.attempt
    }

    /// Begins anew, after a success.
    pub(super) fn reset(&mut self) {
        self.attempt = 0;
    }

    /// Returns the next wait. Where the service asked for one, it is added, up to a minute: so clients wait at least
    /// that long, and do not all come back at once.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Duration {
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
