//! The processor time of this thread.

use std::time::{Duration, Instant};

/// A stopwatch that stops while the thread does not run.
pub(crate) struct Clock {
    ran: Option<Duration>,
    began: Instant,
}

impl Clock {
    /// Starts the stopwatch.
    pub(crate) fn start() -> Self {
        Self {
            ran: ran(),
            began: Instant::now(),
        }
    }

    /// Returns the time since the start; wall time if the system does not tell processor time.
    pub(crate) fn elapsed(&self) -> Duration {
        match (self.ran, ran()) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => self.began.elapsed(),
        }
    }
}

/// Reads the thread's processor time. See "schedstats" in the Linux kernel's documentation of its scheduler.
fn ran() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}
