//! What all sockets have received together.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::samples::Samples;

/// Counters that the sockets' tasks add to, once a read.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) messages: AtomicU64,
    /// Bytes of those messages, frame headers included.
    pub(crate) bytes: AtomicU64,
    /// Sockets that were greeted.
    pub(crate) connected: AtomicU64,
    /// Messages that say that others may be missing.
    pub(crate) gaps: AtomicU64,
    /// When the last message came, in microseconds since 1970.
    pub(crate) last: AtomicU64,
    stride: AtomicU64,
    samples: Mutex<Samples>,
}

impl Tally {
    /// Every so many-th message of a socket is to be sampled.
    pub(crate) fn stride(&self) -> u64 {
        self.stride.load(Relaxed).max(1)
    }

    /// Adds samples of latency, in microseconds.
    pub(crate) fn sample(&self, micros: &[u32]) {
        let stride = self.samples().extend(micros);
        self.stride.store(stride, Relaxed);
    }

    pub(crate) fn samples(&self) -> MutexGuard<'_, Samples> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Relaxed)
    }
}
