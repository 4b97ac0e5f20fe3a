//! Samples of latency, bounded in number.

use std::time::{SystemTime, UNIX_EPOCH};

/// The most samples that are kept.
const MOST: usize = 1 << 18;

/// Latencies in microseconds, of one message in `stride`. When there are too many, every second one is dropped and the
/// stride doubles.
#[derive(Debug)]
pub struct Samples {
    kept: Vec<u32>,
    stride: u64,
    longest: u32,
}

impl Default for Samples {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            stride: 1,
            longest: 0,
        }
    }
}

impl Samples {
    /// Adds samples. Returns the stride from now on.
    pub(crate) fn extend(&mut self, micros: &[u32]) -> u64 {
        for value in micros {
            self.longest = self.longest.max(*value);
            self.kept.push(*value);
            if self.kept.len() == MOST {
                let mut odd = false;
                self.kept.retain(|_| {
                    odd = !odd;
                    odd
                });
                self.stride *= 2;
            }
        }
        self.stride
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Returns the longest of all samples, dropped ones included.
    pub(crate) fn longest(&self) -> u32 {
        self.longest
    }

    /// Returns the value that this many percent of the samples do not exceed; none without samples.
    pub fn percentile(&mut self, percent: usize) -> Option<u32> {
        let last = self.kept.len().checked_sub(1)?;
        let at = (self.kept.len() * percent).div_ceil(100).saturating_sub(1);
        let (_, value, _) = self.kept.select_nth_unstable(at.min(last));
        Some(*value)
    }
}

/// Returns microseconds since 1970, by the clock that publisher and receiver share.
pub fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

/// Returns the number behind `"sent":` in a message.
pub fn sent_micros(message: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b"\"sent\":";
    let at = message.windows(KEY.len()).position(|part| part == KEY)?;
    let digits = message[at + KEY.len()..]
        .iter()
        .take_while(|c| c.is_ascii_digit());
    digits.fold(None, |number: Option<u64>, digit| {
        number
            .unwrap_or(0)
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_all_samples() {
        let mut samples = Samples::default();
        assert_eq!(samples.percentile(50), None);
        let all: Vec<u32> = (1..=100).collect();
        assert_eq!(samples.extend(&all), 1);
        for percent in [1, 50, 99, 100] {
            assert_eq!(samples.percentile(percent), u32::try_from(percent).ok());
        }
    }

    #[test]
    fn memory_is_bounded_and_the_longest_is_not_forgotten() {
        let mut samples = Samples::default();
        samples.extend(&[1_000_000]);
        for _ in 0..10 {
            samples.extend(&vec![7; MOST / 4]);
        }
        assert!(samples.len() < MOST);
        assert!(samples.extend(&[]) > 1);
        assert_eq!(samples.longest(), 1_000_000);
        assert_eq!(samples.percentile(50), Some(7));
    }

    #[test]
    fn the_time_is_found_in_a_message() {
        let message = br#"{"event":{"data":{"group":3,"sent":1700000000000001,"fill":"x"}}}"#;
        assert_eq!(sent_micros(message), Some(1_700_000_000_000_001));
        assert_eq!(sent_micros(br#"{"sent":"no"}"#), None);
        assert_eq!(sent_micros(b"{}"), None);
    }
}
