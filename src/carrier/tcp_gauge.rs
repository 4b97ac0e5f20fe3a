//! The gauge of a TCP connection: what the kernel said last, and what the session's task wants of HTTP's.
//!
//! A socket that was upgraded belongs to its session's task. One that carries server-sent events stays with HTTP, whose
//! task writes the body. The gauge still tells the session's task what it has to know of the kernel: whether it refuses
//! bytes, and whether it took some.

use std::{
    io::{self, ErrorKind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Context,
};

use futures_util::task::AtomicWaker;

/// The kernel's word to the session's task, and the session's orders to HTTP's task.
#[derive(Debug, Default)]
pub(crate) struct TcpGauge {
    refusals: AtomicU64,
    bytes_taken: AtomicU64,
    aborted: AtomicBool,
    holding: AtomicBool,
    streaming: AtomicBool,
    gone: AtomicBool,
    /// HTTP's task.
    writer: AtomicWaker,
    /// The session's task.
    watcher: AtomicWaker,
}

impl TcpGauge {
    /// Registers the task to wake when something is refused, or when the TCP connection is closed.
    pub(crate) fn watch(&self, cx: &Context<'_>) {
        self.watcher.register(cx.waker());
    }

    /// Returns how often the kernel has refused bytes.
    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Acquire)
    }

    /// Returns the number of bytes that the kernel has taken.
    pub(crate) fn bytes_taken(&self) -> u64 {
        self.bytes_taken.load(Ordering::Acquire)
    }

    /// Makes HTTP try again to write what it holds.
    pub(crate) fn attempt(&self) {
        self.writer.wake();
    }

    /// Ends the TCP connection, whatever waits to be written.
    pub(crate) fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
        self.writer.wake();
    }

    /// Keeps what HTTP still writes for the session that takes the TCP connection over. If none does, it is never sent.
    pub(crate) fn hold(&self) {
        self.holding.store(true, Ordering::Release);
    }

    /// Leaves it to the session's task to keep time.
    pub(crate) fn stream(&self) {
        self.streaming.store(true, Ordering::Release);
    }

    /// Whether what HTTP writes is kept: see [`TcpGauge::hold`].
    pub(super) fn is_holding(&self) -> bool {
        self.holding.load(Ordering::Acquire)
    }

    /// Whether the session's task keeps time.
    pub(super) fn is_streaming(&self) -> bool {
        self.streaming.load(Ordering::Acquire)
    }

    /// Notes bytes that the kernel has taken.
    pub(super) fn note_taken(&self, bytes: usize) {
        self.bytes_taken.fetch_add(bytes as u64, Ordering::AcqRel);
    }

    /// Notes that the kernel has refused bytes.
    pub(super) fn note_refused(&self) {
        self.refusals.fetch_add(1, Ordering::AcqRel);
        self.watcher.wake();
    }

    /// Whether the TCP connection is closed.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Registers HTTP's task, for orders. An order to abort is an error.
    pub(super) fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        self.writer.register(cx.waker());
        if self.aborted.load(Ordering::Acquire) {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

/// Marks the gauge when the TCP connection is dropped.
#[derive(Debug)]
pub(super) struct Tether(pub(super) Arc<TcpGauge>);

impl Drop for Tether {
    fn drop(&mut self) {
        self.0.gone.store(true, Ordering::Release);
        self.0.watcher.wake();
    }
}
