//! The count of all sockets together.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::samples::Samples;

/// Counters. The tasks of the sockets add to them once a read.
#[derive(Debug, Default)]
pub struct Tally {
    /// Events that came.
    pub messages: AtomicU64,
    /// Bytes of those messages, frame headers included.
    pub bytes: AtomicU64,
    /// The `connected` that came: one for each socket, or for each handle of a socket for many.
    pub connected: AtomicU64,
    /// Handles that were refused, or have ended.
    pub refused: AtomicU64,
    /// Messages that say that events may be missing.
    pub(crate) gaps: AtomicU64,
    /// The time of the last message, in microseconds since 1970.
    pub(crate) last: AtomicU64,
    stride: AtomicU64,
    samples: Mutex<Samples>,
}

impl Tally {
    /// Returns the stride: of a socket's messages, one in this many is sampled.
    pub fn stride(&self) -> u64 {
        self.stride.load(Relaxed).max(1)
    }

    /// Adds samples of latency, in microseconds.
    pub fn sample(&self, micros: &[u32]) {
        let stride = self.samples().extend(micros);
        self.stride.store(stride, Relaxed);
    }

    /// Locks the samples.
    pub fn samples(&self) -> MutexGuard<'_, Samples> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the count of messages.
    pub fn messages(&self) -> u64 {
        self.messages.load(Relaxed)
    }
}
