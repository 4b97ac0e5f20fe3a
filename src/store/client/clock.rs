//! The server's clock, estimated from this side of the network.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use bson::{DateTime, doc};

use super::error::StoreError;
use crate::store::Store;

/// How long one measurement serves: clocks drift apart by far less than a millisecond in that time,
/// and a new primary's clock is taken up soon.
const GOOD_FOR: Duration = Duration::from_secs(30);

/// One measurement: what the server's clock said, and when the question was sent.
#[derive(Clone, Copy, Debug)]
struct Measurement {
    sent: Instant,
    server_ms: i64,
}

/// Remembers the last measurement. Counting starts where the question was *sent*, so the estimate is
/// ahead of the server's clock by the time the question took to get there, never behind it.
#[derive(Debug, Default)]
pub(in crate::store) struct ServerClock {
    last: Mutex<Option<Measurement>>,
}

impl ServerClock {
    /// The estimate, if the last measurement is recent enough.
    pub(in crate::store) fn now(&self) -> Option<DateTime> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|last| last.sent.elapsed() < GOOD_FOR)
            .map(Measurement::now)
    }

    /// Takes a measurement, and returns the estimate by it.
    pub(in crate::store) fn measured(&self, sent: Instant, local_time: DateTime) -> DateTime {
        let measurement = Measurement {
            sent,
            server_ms: local_time.timestamp_millis(),
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(measurement);
        measurement.now()
    }
}

impl Store {
    /// Estimates the server's clock. The estimate is ahead by one round trip at most. It is never behind,
    /// except for the drift since the last measurement, which is half a minute old at most.
    pub async fn server_time(&self) -> Result<DateTime, StoreError> {
        if let Some(now) = self.inner.clock.now() {
            return Ok(now);
        }
        let sent = Instant::now();
        let hello = self.run(doc! {"hello": 1}).await?;
        let local_time = hello
            .get_datetime("localTime")
            .map_err(|_| StoreError::Unexpected("the answer to hello has no localTime"))?;
        Ok(self.inner.clock.measured(sent, *local_time))
    }
}

impl Measurement {
    fn now(self) -> DateTime {
        let elapsed = i64::try_from(self.sent.elapsed().as_millis()).unwrap_or(i64::MAX);
        // Both parts were cut to whole milliseconds; one more makes up for that.
        DateTime::from_millis(self.server_ms.saturating_add(elapsed).saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_never_behind_what_the_server_said() {
        let clock = ServerClock::default();
        assert!(clock.now().is_none());
        let said = DateTime::from_millis(1_000);
        assert!(clock.measured(Instant::now(), said) > said);
        assert!(clock.now().unwrap() > said);
    }

    #[test]
    fn an_old_measurement_is_not_used() {
        let clock = ServerClock::default();
        let Some(long_ago) = Instant::now().checked_sub(GOOD_FOR) else {
            return;
        };
        clock.measured(long_ago, DateTime::from_millis(1_000));
        assert!(clock.now().is_none());
    }
}
