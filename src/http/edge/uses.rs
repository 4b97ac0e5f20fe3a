//! The uses of keys that are still to be written down. No request waits for that.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

/// A key's use is written at most once in this time, by this node.
pub(crate) const USE_INTERVAL: Duration = Duration::from_mins(10);
/// The most keys that are remembered as written. Uses of further ones are not written until others are forgotten.
const MOST_KEYS: usize = 100_000;
/// Keys that are no longer remembered are looked for at most once in this time.
const FORGET_INTERVAL: Duration = Duration::from_mins(1);
/// Uses that may wait to be written. Further ones are dropped, and the key's next use is tried again.
const MOST_WAITING: usize = 1_000;

/// The uses of keys that are still to be written down, and those that were.
#[derive(Debug)]
pub(crate) struct Uses {
    written: Mutex<Written>,
    waiting: mpsc::Sender<Box<str>>,
}

#[derive(Default, Debug)]
struct Written {
    at: HashMap<Box<str>, Instant>,
    forgot: Option<Instant>,
}

impl Uses {
    /// Returns an empty record, and the queue of the ids of keys whose use is to be written.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Box<str>>) {
        let (waiting, queue) = mpsc::channel(MOST_WAITING);
        let written = Mutex::default();
        (Self { written, waiting }, queue)
    }

    /// Notes that a key is used. False if that is to be written and the queue is full.
    pub(crate) fn note(&self, key: &str) -> bool {
        if !self.is_due(key) || self.waiting.try_send(key.into()).is_ok() {
            return true;
        }
        self.lock().at.remove(key);
        false
    }

    /// Whether the use of a key is to be written now. Whoever asks writes it: for a while it is not, whatever becomes of that.
    pub(crate) fn is_due(&self, key: &str) -> bool {
        self.lock().is_due(key, Instant::now())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    fn is_due(&mut self, key: &str, now: Instant) -> bool {
        let is_recent = |at: &Instant, most| now.duration_since(*at) < most;
        if self
            .at
            .get(key)
            .is_some_and(|at| is_recent(at, USE_INTERVAL))
        {
            return false;
        }
        if self.at.len() >= MOST_KEYS && !self.at.contains_key(key) {
            if self
                .forgot
                .is_some_and(|at| is_recent(&at, FORGET_INTERVAL))
            {
                return false;
            }
            self.forgot = Some(now);
            self.at.retain(|_, at| is_recent(at, USE_INTERVAL));
            if self.at.len() >= MOST_KEYS {
                return false;
            }
        }
        self.at.insert(key.into(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_written_once_in_a_while() {
        let mut written = Written::default();
        let begun = Instant::now();
        for (key, after, due) in [
            ("a", 0, true),
            ("a", 1, false),
            ("b", 2, true),
            ("a", 599, false),
            ("a", 600, true),
            ("a", 601, false),
            ("b", 601, false),
            ("b", 602, true),
        ] {
            let now = begun + Duration::from_secs(after);
            assert_eq!(written.is_due(key, now), due, "{key} after {after}");
        }
    }

    #[test]
    fn a_full_queue_drops_a_use_and_the_next_one_is_tried_again() {
        let (uses, mut queue) = Uses::new();
        for n in 0..MOST_WAITING {
            assert!(uses.note(&n.to_string()));
        }
        assert!(!uses.note("x"));
        assert!(!uses.note("x"));
        assert!(uses.note("1"), "it is written already");
        assert_eq!(queue.try_recv().as_deref(), Ok("0"));
        assert!(uses.note("x"));
        assert!(uses.note("x"));
        assert_eq!(queue.len(), MOST_WAITING);
    }

    #[test]
    fn keys_are_remembered_up_to_a_bound() {
        let mut written = Written::default();
        let begun = Instant::now();
        let keys: Vec<_> = (0..MOST_KEYS).map(|n| n.to_string()).collect();
        assert!(keys.iter().all(|key| written.is_due(key, begun)));
        let after = |seconds| begun + Duration::from_secs(seconds);
        assert!(!written.is_due("x", after(1)));
        assert_eq!(written.at.len(), MOST_KEYS);
        // Those that are known are written on, and make room when they are old.
        assert!(written.is_due("7", after(600)));
        assert!(written.is_due("x", after(601)));
        assert_eq!(written.at.len(), 2);
    }
}
