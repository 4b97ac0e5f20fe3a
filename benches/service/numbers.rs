//! Percentiles, and the clock that both sides share.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970: publisher and receiver are on one machine.
pub(crate) fn now_micros() -> i64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX)
}

/// The value below which `percent` of the samples lie.
pub(crate) fn percentile(samples: &mut [i64], percent: usize) -> i64 {
    samples.sort_unstable();
    samples[(samples.len() * percent / 100).min(samples.len() - 1)]
}
