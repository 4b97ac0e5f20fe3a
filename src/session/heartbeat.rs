//! The times at which a client is asked for a sign of life, and at which its absence counts. Pure.

use std::time::{Duration, Instant};

/// The heartbeat of one session.
#[derive(Debug)]
pub(super) struct Heartbeat {
    interval: Duration,
    patience: Duration,
    /// True if the client answers pings.
    answered: bool,
    next_ping: Instant,
    /// A ping is queued, but the kernel has not taken it yet.
    ping_queued: bool,
    /// A ping is on its way, and is to be answered by this time.
    pong_by: Option<Instant>,
    /// The socket has refused bytes since this time, and taken none.
    refused_at: Option<Instant>,
}

/// The action that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    Nothing,
    Ping,
    Missed,
}

impl Heartbeat {
    pub(super) fn new(interval: Duration, patience: Duration, now: Instant) -> Self {
        Self {
            interval,
            patience,
            answered: true,
            next_ping: now + interval,
            ping_queued: false,
            pong_by: None,
            refused_at: None,
        }
    }

    /// Returns the heartbeat of a client that cannot answer: only a socket that takes nothing counts.
    pub(super) fn unanswered(interval: Duration, patience: Duration, now: Instant) -> Self {
        Self {
            answered: false,
            ..Self::new(interval, patience, now)
        }
    }

    /// Returns the time at which to call [`Heartbeat::due`] next.
    pub(super) fn next(&self) -> Instant {
        let refused_by = self.refused_at.map(|at| at + self.patience);
        [self.pong_by, refused_by]
            .into_iter()
            .flatten()
            .fold(self.next_ping, Instant::min)
    }

    /// Returns the action that is due at `now`. Call it only after everything that had arrived was read.
    pub(super) fn due(&mut self, now: Instant) -> Due {
        if self.missed(now) {
            return Due::Missed;
        }
        if self.next_ping > now {
            return Due::Nothing;
        }
        self.next_ping = now + self.interval;
        if self.ping_queued || self.pong_by.is_some() {
            return Due::Nothing;
        }
        self.ping_queued = true;
        Due::Ping
    }

    /// Whether a sign of life is overdue at `now`.
    pub(super) fn missed(&self, now: Instant) -> bool {
        let late = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        late(self.pong_by) || late(self.refused_at.map(|at| at + self.patience))
    }

    /// Returns the time since which the socket has refused bytes and taken none, if it has.
    pub(super) fn refused_since(&self) -> Option<Instant> {
        self.refused_at
    }

    /// Notes that the kernel took everything that was queued. The time is read only for a ping.
    pub(super) fn flushed(&mut self, now: impl FnOnce() -> Instant) {
        self.refused_at = None;
        if std::mem::take(&mut self.ping_queued) && self.answered {
            self.pong_by = Some(now() + self.patience);
        }
    }

    /// Notes that the kernel refused bytes; `progress`: it took some before.
    pub(super) fn refused(&mut self, progress: bool, now: Instant) {
        if progress || self.refused_at.is_none() {
            self.refused_at = Some(now);
        }
    }

    pub(super) fn pong(&mut self) {
        self.pong_by = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);
    const PATIENCE: Duration = Duration::from_secs(10);

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_pong_in_time_keeps_the_connection() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(INTERVAL, PATIENCE, start);
        assert_eq!(heartbeat.due(after(start, 29)), Due::Nothing);
        assert_eq!(heartbeat.due(after(start, 30)), Due::Ping);
        heartbeat.flushed(|| after(start, 30));
        assert_eq!(heartbeat.next(), after(start, 40));
        heartbeat.pong();
        assert_eq!(heartbeat.due(after(start, 40)), Due::Nothing);
        assert_eq!(heartbeat.next(), after(start, 60));
    }

    #[test]
    fn the_wait_for_a_pong_begins_when_the_ping_has_left() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(INTERVAL, PATIENCE, start);
        assert_eq!(heartbeat.due(after(start, 30)), Due::Ping);
        heartbeat.refused(true, after(start, 30));
        heartbeat.refused(true, after(start, 38));
        heartbeat.flushed(|| after(start, 45));
        assert_eq!(heartbeat.due(after(start, 54)), Due::Nothing);
        assert_eq!(heartbeat.due(after(start, 55)), Due::Missed);
    }

    #[test]
    fn a_client_that_cannot_answer_is_not_waited_for() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::unanswered(INTERVAL, PATIENCE, start);
        for seconds in [30, 60, 90] {
            assert_eq!(heartbeat.due(after(start, seconds)), Due::Ping);
            heartbeat.flushed(|| after(start, seconds));
        }
        heartbeat.refused(false, after(start, 95));
        assert_eq!(heartbeat.due(after(start, 105)), Due::Missed);
    }

    #[test]
    fn a_socket_that_takes_nothing_is_missed() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(INTERVAL, PATIENCE, start);
        heartbeat.refused(false, after(start, 1));
        heartbeat.refused(false, after(start, 5));
        assert_eq!(heartbeat.next(), after(start, 11));
        assert_eq!(heartbeat.due(after(start, 10)), Due::Nothing);
        assert_eq!(heartbeat.due(after(start, 11)), Due::Missed);
    }
}
