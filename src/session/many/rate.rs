//! The rate at which a client may subscribe (the generic cell rate algorithm). Pure.

use std::time::{Duration, Instant};

/// A rate with a burst.
#[derive(Debug)]
pub(super) struct Rate {
    /// Time that one costs.
    cost: Duration,
    /// The most that may be owed.
    most: Duration,
    /// All that was taken is paid for by then.
    paid_at: Instant,
}

impl Rate {
    pub(super) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let cost = Duration::from_secs(1) / per_second.max(1);
        Self {
            cost,
            most: cost * burst.max(1),
            paid_at: now,
        }
    }

    /// Takes one; else returns the milliseconds after which there is one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), u64> {
        let paid_at = self.paid_at.max(now) + self.cost;
        let owed = paid_at - now;
        if let Some(wait) = owed.checked_sub(self.most).filter(|wait| !wait.is_zero()) {
            return Err(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1));
        }
        self.paid_at = paid_at;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_at_once_and_the_rest_in_time() {
        let begun = Instant::now();
        let mut rate = Rate::new(20, 3, begun);
        for _ in 0..3 {
            assert_eq!(rate.take(begun), Ok(()));
        }
        assert_eq!(rate.take(begun), Err(50));
        let later = begun + Duration::from_millis(50);
        assert_eq!(rate.take(later), Ok(()));
        assert_eq!(rate.take(later), Err(50));
        let much_later = begun + Duration::from_mins(1);
        for _ in 0..3 {
            assert_eq!(rate.take(much_later), Ok(()));
        }
        assert!(rate.take(much_later).is_err());
    }
}
