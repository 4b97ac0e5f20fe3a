//! The server's clock, estimated from this side of the network.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use bson::{DateTime, doc};

use super::error::StoreError;
use crate::store::Store;

/// Time for which one measurement is used. Clocks drift apart by far less than a millisecond in that
/// time, and a new primary's clock is adopted soon.
const MEASUREMENT_LIFETIME: Duration = Duration::from_secs(30);

/// A reading of the server's clock, with the time at which the question was sent.
#[derive(Clone, Copy, Debug)]
struct Measurement {
    sent: Instant,
    server_ms: i64,
}

/// An estimate of the server's clock, from the last measurement. It counts from when the question was
/// *sent*, so it is ahead of the server's clock by the time that the question travelled, and never behind.
#[derive(Debug, Default)]
pub(in crate::store) struct ServerClock {
    last: Mutex<Option<Measurement>>,
}

impl ServerClock {
    /// Returns the estimate at this moment, if the last measurement is recent enough.
    fn at(&self, now: Instant) -> Option<DateTime> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|last| now.duration_since(last.sent) < MEASUREMENT_LIFETIME)
            .map(|last| last.at(now))
    }

    /// Takes a measurement and returns the new estimate.
    fn measured(&self, sent: Instant, local_time: DateTime) -> DateTime {
        let measurement = Measurement {
            sent,
            server_ms: local_time.timestamp_millis(),
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(measurement);
        measurement.at(Instant::now())
    }
}

impl Store {
    /// Estimates the server's clock. The estimate is ahead by one round trip at most. It is never behind,
    /// except for the drift since the last measurement, which is half a minute old at most.
    pub async fn server_time(&self) -> Result<DateTime, StoreError> {
        if let Some(now) = self.inner.clock.at(Instant::now()) {
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
    fn at(self, now: Instant) -> DateTime {
        let elapsed = now.duration_since(self.sent).as_millis();
        let elapsed = i64::try_from(elapsed).unwrap_or(i64::MAX);
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
        let sent = Instant::now();
        assert!(clock.at(sent).is_none());
        let said = DateTime::from_millis(1_000);
        assert!(clock.measured(sent, said) > said);
        assert!(clock.at(sent).unwrap() > said);
    }

    #[test]
    fn an_old_measurement_is_not_used() {
        let clock = ServerClock::default();
        let sent = Instant::now();
        clock.measured(sent, DateTime::from_millis(1_000));
        let last = sent + MEASUREMENT_LIFETIME.saturating_sub(Duration::from_millis(1));
        assert!(clock.at(last).is_some());
        assert!(clock.at(sent + MEASUREMENT_LIFETIME).is_none());
    }
}
