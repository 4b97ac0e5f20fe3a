//! The processor time of this thread.

use std::time::{Duration, Instant};

/// A stopwatch that stands still while the thread does not run.
pub(crate) struct Clock {
    ran: Option<Duration>,
    began: Instant,
}

impl Clock {
    /// Starts.
    pub(crate) fn start() -> Self {
        Self {
            ran: ran(),
            began: Instant::now(),
        }
    }

    /// The time since the start; wall time where processor time is not to be had.
    pub(crate) fn elapsed(&self) -> Duration {
        match (self.ran, ran()) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => self.began.elapsed(),
        }
    }
}

/// See "schedstats" in the Linux kernel's documentation of its scheduler.
fn ran() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}
