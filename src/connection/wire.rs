//! The TCP connection below HTTP, with a gauge.
//!
//! A socket that was upgraded belongs to its connection's task. One that carries server-sent events
//! stays with HTTP, whose task writes the body. The gauge tells the connection's task what it has
//! to know of the kernel all the same: whether bytes are refused, and whether some were taken. It also
//! ends a TCP connection whose client takes nothing: HTTP would wait for it for ever. And it keeps the
//! answer to an upgrade for the connection's task, which sends it first of all, with what it has to say
//! by then: most often one system call and one segment rather than two.

use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// What the kernel says to whoever writes, and what HTTP's side of the wire is to do.
#[derive(Debug, Default)]
pub struct Gauge {
    refusals: AtomicU64,
    bytes_taken: AtomicU64,
    cut: AtomicBool,
    holding: AtomicBool,
    gone: AtomicBool,
    /// HTTP's task.
    writer: AtomicWaker,
    /// The connection's task.
    watcher: AtomicWaker,
}

impl Gauge {
    /// The task to wake when something is refused, or when the TCP connection is gone.
    pub(super) fn watch(&self, cx: &Context<'_>) {
        self.watcher.register(cx.waker());
    }

    /// How often the kernel has refused bytes.
    pub(super) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Acquire)
    }

    /// How many bytes the kernel has taken.
    pub(super) fn bytes_taken(&self) -> u64 {
        self.bytes_taken.load(Ordering::Acquire)
    }

    /// Has HTTP try again to write what it holds.
    pub(super) fn attempt(&self) {
        self.writer.wake();
    }

    /// Ends the TCP connection, whatever waits to be written.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.writer.wake();
    }

    /// Keeps what HTTP still writes for whoever takes the TCP connection over. If nobody does, it is
    /// never sent.
    pub fn hold(&self) {
        self.holding.store(true, Ordering::Release);
    }

    /// Whether the TCP connection is closed.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        self.writer.register(cx.waker());
        if self.cut.load(Ordering::Acquire) {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

/// Says so when the TCP connection is dropped.
#[derive(Debug)]
struct Tether(Arc<Gauge>);

impl Drop for Tether {
    fn drop(&mut self) {
        self.0.gone.store(true, Ordering::Release);
        self.0.watcher.wake();
    }
}

/// A TCP connection with a gauge.
#[derive(Debug)]
pub struct Wire {
    tcp: TcpStream,
    /// Not sent yet: see [`Gauge::hold`].
    held: BytesMut,
    tether: Tether,
}

impl Wire {
    /// Puts a gauge on a TCP connection.
    pub fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            held: BytesMut::new(),
            tether: Tether(Arc::default()),
        }
    }

    /// The gauge.
    pub fn gauge(&self) -> Arc<Gauge> {
        Arc::clone(&self.tether.0)
    }

    /// The TCP connection, for who takes it over, and what is to be sent on it before all else.
    pub fn into_parts(self) -> (TcpStream, Bytes) {
        (self.tcp, self.held.freeze())
    }

    fn gauge_ref(&self) -> &Gauge {
        &self.tether.0
    }

    /// Asks the kernel each time, whatever the runtime remembers of its readiness: whether a client
    /// is slow is judged by the answer.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.gauge_ref().check(cx)?;
        if self.gauge_ref().holding.load(Ordering::Acquire) {
            let before = self.held.len();
            for part in bytes {
                self.held.extend_from_slice(part);
            }
            return Poll::Ready(Ok(self.held.len() - before));
        }
        let polled = match Pin::new(&mut self.tcp).poll_write_vectored(cx, bytes) {
            // The readiness may be stale.
            Poll::Pending => match SockRef::from(&self.tcp).send_vectored(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
                sent => Poll::Ready(sent),
            },
            ready @ Poll::Ready(_) => ready,
        };
        let gauge = self.gauge_ref();
        match &polled {
            Poll::Ready(Ok(taken)) => {
                gauge.bytes_taken.fetch_add(*taken as u64, Ordering::AcqRel);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                gauge.refusals.fetch_add(1, Ordering::AcqRel);
                gauge.watcher.wake();
            }
        }
        polled
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.gauge_ref().check(cx)?;
        Pin::new(&mut self.tcp).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    #[tokio::test]
    async fn what_is_held_is_not_sent_and_goes_along() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let mut wire = Wire::new(accepted.unwrap().0);
        wire.write_all(b"before").await.unwrap();
        wire.gauge().hold();
        wire.write_all(b"held ").await.unwrap();
        let parts = [IoSlice::new(b"b"), IoSlice::new(b"ack")];
        assert_eq!(wire.write_vectored(&parts).await.unwrap(), 4);
        wire.flush().await.unwrap();
        let (tcp, held) = wire.into_parts();
        assert_eq!(held, "held back");
        drop(tcp);
        let mut got = String::new();
        client.unwrap().read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "before");
    }
}
