//! The TCP connection below HTTP, with a gauge, and with TLS where this node speaks it.
//!
//! It aborts a TCP connection whose client takes nothing: HTTP would wait for it for ever. And it keeps the answer to an
//! upgrade for the session's task, which sends it together with its own first frames: most often one system call and one
//! segment rather than two.
//!
//! It withholds the bare answer of HTTP's library to a request that the library cannot read, so that a better one can take
//! its place.
//!
//! No task keeps time for an ordinary answer. If its client takes nothing of it for `limits.answer_timeout`, or overall
//! less than [`LEAST_BYTES_PER_SECOND`] beyond that time, the TCP connection is reset here.

mod encrypted;

use std::{
    future::{Future as _, poll_fn},
    io::{self, ErrorKind, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep},
};

use super::{
    permit::TcpPermit,
    tcp_gauge::{TcpGauge, Tether},
    tls::Tls,
};

/// A client that takes less of an ordinary answer is not waited for: a byte now and then would hold the answer for days.
const LEAST_BYTES_PER_SECOND: u64 = 16 << 10;

/// A TCP connection with a gauge.
#[derive(Debug)]
pub(crate) struct GaugedTcp {
    tcp: TcpStream,
    tls: Option<Tls>,
    permit: Option<TcpPermit>,
    /// The time for which an answer may wait.
    patience: Duration,
    /// The end of that time; `None` while nothing waits.
    deadline: Option<Pin<Box<Sleep>>>,
    /// The time since which the answer waits for its client, and the bytes that the kernel had taken by then.
    waiting: Option<(Instant, u64)>,
    /// Not sent yet: see [`TcpGauge::hold`].
    held: BytesMut,
    /// The bare answer of HTTP's library to a request that it could not read: see [`GaugedTcp::take_withheld`].
    withheld: Option<Bytes>,
    tether: Tether,
}

impl GaugedTcp {
    /// Puts a gauge on a TCP connection. One beyond those that a node takes has no permit.
    pub(crate) fn new(
        (tcp, tls): (TcpStream, Option<Tls>),
        permit: Option<TcpPermit>,
        patience: Duration,
    ) -> Self {
        Self {
            tcp,
            tls,
            permit,
            patience,
            deadline: None,
            waiting: None,
            held: BytesMut::new(),
            withheld: None,
            tether: Tether(Arc::default()),
        }
    }

    pub(crate) fn gauge(&self) -> Arc<TcpGauge> {
        Arc::clone(&self.tether.0)
    }

    /// Returns the TCP connection for the session that takes it over, and the bytes to send on it first.
    pub(crate) fn into_parts(self) -> (TcpStream, Option<Tls>, Option<TcpPermit>, Bytes) {
        (self.tcp, self.tls, self.permit, self.held.freeze())
    }

    /// Whether bytes have come that nobody has read. Asks the kernel, whatever the runtime remembers.
    pub(crate) fn has_unread(&self) -> bool {
        let byte = &mut [MaybeUninit::uninit()];
        SockRef::from(&self.tcp)
            .peek(byte)
            .is_ok_and(|bytes| bytes > 0)
    }

    /// Shuts the TCP connection down, behind everything that was sent.
    pub(crate) async fn end(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_end(cx)).await
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(tls) = &mut self.tls {
            tls.end();
            ready!(self.poll_send_waiting(cx))?;
        }
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    /// Takes the answer of HTTP's library to a request that it could not read, if that was the last request. The answer was
    /// not sent: a better one goes in its place.
    pub(crate) fn take_withheld(&mut self) -> Option<Bytes> {
        self.withheld.take()
    }

    fn gauge_ref(&self) -> &TcpGauge {
        &self.tether.0
    }

    /// Sends bytes. Asks the kernel each time, whatever the runtime remembers of the socket's readiness: whether a client is
    /// slow is judged by the answer.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.gauge_ref().check(cx)?;
        if self.gauge_ref().is_holding() {
            let before = self.held.len();
            for part in bytes {
                self.held.extend_from_slice(part);
            }
            return Poll::Ready(Ok(self.held.len() - before));
        }
        if let Some(bare) = bare_refusal(bytes) {
            self.withheld = Some(Bytes::copy_from_slice(bare));
            return Poll::Ready(Ok(bare.len()));
        }
        if self.tls.is_some() {
            return self.poll_send_encrypted(cx, bytes);
        }
        let polled = match Pin::new(&mut self.tcp).poll_write_vectored(cx, bytes) {
            // The readiness may be stale.
            Poll::Pending => match SockRef::from(&self.tcp).send_vectored(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
                sent => Poll::Ready(sent),
            },
            ready @ Poll::Ready(_) => ready,
        };
        match &polled {
            Poll::Ready(Ok(taken)) => self.note_taken(*taken),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.note_refused(cx)?,
        }
        polled
    }

    fn note_taken(&mut self, bytes: usize) {
        self.gauge_ref().note_taken(bytes);
        self.deadline = None;
    }

    fn note_refused(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.gauge_ref().note_refused();
        self.wait(cx)
    }

    /// Waits for the client, but not for ever.
    fn wait(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.gauge_ref().is_streaming() {
            return Ok(());
        }
        let patience = self.patience;
        let taken = self.gauge_ref().bytes_taken();
        let (since, before) = *self.waiting.get_or_insert_with(|| (Instant::now(), taken));
        let deadline = self.deadline.get_or_insert_with(|| {
            let earned = Duration::from_secs((taken - before) / LEAST_BYTES_PER_SECOND);
            let whole = patience.saturating_add(earned);
            let left = whole.saturating_sub(since.elapsed());
            Box::pin(sleep(left.min(patience)))
        });
        if deadline.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        // What the kernel holds for this client goes too.
        self.tcp.set_zero_linger()?;
        Err(ErrorKind::TimedOut.into())
    }
}

impl AsyncRead for GaugedTcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.gauge_ref().check(cx)?;
        if self.tls.is_some() {
            return self.poll_decrypt(cx, buffer);
        }
        Pin::new(&mut self.tcp).poll_read(cx, buffer)
    }
}

impl AsyncWrite for GaugedTcp {
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
        if self.tls.is_some() {
            self.gauge_ref().check(cx)?;
            ready!(self.poll_send_waiting(cx))?;
        }
        // HTTP has written all that it had: the next answer has its own time.
        self.deadline = None;
        self.waiting = None;
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    /// Does nothing: whether the connection ends here is for its owner to say, who [ends](GaugedTcp::end) it. HTTP's library
    /// closes an idle connection even if a request has just come.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Returns the bytes if they are a whole answer of HTTP's library itself: the head of a refusal, without a body. Every
/// answer of this service has more headers, and no body has a head's line break in it.
fn bare_refusal<'p>(parts: &'p [IoSlice<'_>]) -> Option<&'p [u8]> {
    /// More than such a head has.
    const MOST: usize = 256;
    let mut parts = parts.iter().filter(|part| !part.is_empty());
    let head: &[u8] = parts.next()?;
    let has = |words: &[u8]| head.windows(words.len()).any(|part| part == words);
    let bare = parts.next().is_none()
        && head.len() <= MOST
        && (head.starts_with(b"HTTP/1.1 4") || head.starts_with(b"HTTP/1.0 4"))
        && head.ends_with(b"\r\n\r\n")
        && has(b"\r\ncontent-length: 0\r\n")
        && !has(b"\r\nx-");
    bare.then_some(head)
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
        let mut wire = GaugedTcp::new((accepted.unwrap().0, None), None, Duration::MAX);
        wire.write_all(b"before").await.unwrap();
        wire.gauge().hold();
        wire.write_all(b"held ").await.unwrap();
        let parts = [IoSlice::new(b"b"), IoSlice::new(b"ack")];
        assert_eq!(wire.write_vectored(&parts).await.unwrap(), 4);
        wire.flush().await.unwrap();
        let (tcp, _, _, held) = wire.into_parts();
        assert_eq!(held, "held back");
        drop(tcp);
        let mut got = String::new();
        client.unwrap().read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "before");
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Returns a TCP connection whose client takes nothing more, and the client. The client is of the standard library, so
    /// that nothing here waits for the runtime, whose clock would run on.
    async fn filled(part: &[u8]) -> (GaugedTcp, std::net::TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // Everything may have been read while the kernel does not know it yet, and still refuses.
        let soon = Some(Duration::from_millis(10));
        client.set_read_timeout(soon).unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        SockRef::from(&tcp).set_send_buffer_size(4 * 1024).unwrap();
        let mut wire = GaugedTcp::new((tcp, None), None, PATIENCE);
        fill(&mut wire, part).unwrap();
        (wire, client)
    }

    /// Reads until the kernel has taken so many bytes.
    fn read(client: &mut std::net::TcpStream, wire: &mut GaugedTcp, part: &[u8], bytes: usize) {
        let mut taken = 0;
        while taken < bytes {
            drop(io::Read::read(client, &mut [0; 16 * 1024]));
            taken += fill(wire, part).unwrap();
        }
    }

    fn assert_reset(mut wire: GaugedTcp, client: &mut std::net::TcpStream, part: &[u8]) {
        let error = fill(&mut wire, part).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(wire);
        client.set_read_timeout(None).unwrap();
        let error = io::Read::read_to_end(client, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    /// A client that takes enough is waited for; one that takes nothing for long enough is not.
    #[tokio::test(start_paused = true)]
    async fn an_answer_of_which_nothing_is_taken_for_too_long_is_reset() {
        let part = vec![b'x'; 64 * 1024];
        let (mut wire, mut client) = filled(&part).await;
        for _ in 0..5 {
            tokio::time::advance(PATIENCE * 2 / 3).await;
            // Enough for the next 20 s.
            read(&mut client, &mut wire, &part, 20 * (16 << 10));
        }
        tokio::time::advance(PATIENCE + Duration::from_millis(1)).await;
        assert_reset(wire, &mut client, &part);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_which_a_little_is_taken_now_and_then_is_reset() {
        let part = vec![b'x'; 4 * 1024];
        let (mut wire, mut client) = filled(&part).await;
        let step = PATIENCE / 3;
        for _ in 0..2 {
            tokio::time::advance(step).await;
            read(&mut client, &mut wire, &part, 1);
        }
        // What was taken at once earns some seconds more.
        let taken = wire.gauge().bytes_taken();
        let (_, before) = wire.waiting.unwrap();
        let earned = Duration::from_secs((taken - before) / LEAST_BYTES_PER_SECOND);
        assert!(earned + step < PATIENCE, "{earned:?}");
        tokio::time::advance(step + earned + Duration::from_millis(1)).await;
        assert_reset(wire, &mut client, &part);
    }

    #[tokio::test(start_paused = true)]
    async fn each_answer_has_its_own_time() {
        let part = vec![b'x'; 4 * 1024];
        let (mut wire, mut client) = filled(&part).await;
        for _ in 0..5 {
            tokio::time::advance(PATIENCE * 2 / 3).await;
            read(&mut client, &mut wire, &part, 1);
            wire.flush().await.unwrap();
        }
    }

    /// Writes until the kernel refuses; returns the bytes that it took.
    fn fill(wire: &mut GaugedTcp, part: &[u8]) -> io::Result<usize> {
        let mut all = 0;
        let mut cx = Context::from_waker(std::task::Waker::noop());
        loop {
            match Pin::new(&mut *wire).poll_write(&mut cx, part) {
                Poll::Ready(taken) => all += taken?,
                Poll::Pending => return Ok(all),
            }
        }
    }
}
