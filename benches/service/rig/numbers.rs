//! Percentiles, and the time as BSON has it.

use tidegate::client::counting;

/// Returns microseconds since 1970, by the clock that publisher and receiver share.
pub(crate) fn now_micros() -> i64 {
    i64::try_from(counting::now_micros()).unwrap_or(i64::MAX)
}

/// Returns the value below which `percent` of the samples lie.
pub(crate) fn percentile(samples: &mut [i64], percent: usize) -> i64 {
    samples.sort_unstable();
    samples[(samples.len() * percent / 100).min(samples.len() - 1)]
}
