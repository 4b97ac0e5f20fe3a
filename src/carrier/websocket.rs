//! One upgraded socket: it reads through tungstenite's codec, and writes frames that are ready-made.
//!
//! The codec never touches the socket's writing side. What it wants to send of its own (pongs, the closing handshake) it
//! writes into a buffer, which goes out between whole frames. So the bytes of an event are encoded once for all sockets,
//! and everything that waits goes out in one vectored write.

mod codec;

use std::{
    future::poll_fn,
    io::{self, ErrorKind, IoSlice},
    task::{Context, Poll, ready},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use socket2::SockRef;
use tokio::{
    io::Interest,
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

use self::codec::READ_TURN_BYTES;
pub(crate) use self::codec::{Broken, Incoming, after_others};
use super::{outbound::Outbound, permit::TcpPermit, tls::Tls};

/// While so many bytes of pongs wait to be written, nothing more is read.
const CONTROL_BYTES: usize = 4 * 1024;
/// The buffer that every socket keeps. Clients say little.
const READ_BUFFER_BYTES: usize = 256;
/// The most parts in one vectored write (Linux takes 1,024).
const WRITE_PARTS: usize = 64;

/// A socket as HTTP leaves it.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub tcp: TcpStream,
    pub tls: Option<Tls>,
    /// Held until the socket is closed.
    pub permit: Option<TcpPermit>,
    /// HTTP's answer to the upgrade, to be sent first, if it is not sent yet.
    pub answer: Bytes,
    /// Bytes that arrived behind the request.
    pub read_already: Vec<u8>,
}

/// A WebSocket, owned by its session alone.
pub(crate) struct WebSocket {
    tcp: TcpStream,
    tls: Option<Tls>,
    _permit: Option<TcpPermit>,
    codec: WebSocketContext,
    /// Bytes that the codec wants to send.
    control: Vec<u8>,
    outbound: Outbound,
    /// Bytes that may still be read in this turn.
    turn: usize,
    /// True if reads ask the kernel, whatever the runtime remembers.
    ask_kernel: bool,
    /// True if the codec has given all that it has, and waits for the socket.
    at_rest: bool,
    /// The bytes that the codec has read beyond the messages that it has given.
    unread: usize,
    /// True if the codec's buffer has grown, and may be given back.
    has_grown: bool,
}

impl WebSocket {
    /// Takes over an upgraded socket.
    pub(crate) fn new(upgraded: Upgraded, message_bytes: usize) -> Self {
        let Upgraded {
            tcp,
            tls,
            permit,
            answer,
            read_already,
        } = upgraded;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(CONTROL_BYTES * 4)
            .max_message_size(Some(message_bytes))
            .max_frame_size(Some(message_bytes));
        let unread = read_already.len();
        Self {
            tcp,
            tls,
            _permit: permit,
            codec: WebSocketContext::from_partially_read(read_already, Role::Server, Some(config)),
            control: Vec::new(),
            outbound: Outbound::behind(answer),
            turn: READ_TURN_BYTES,
            ask_kernel: false,
            at_rest: false,
            unread,
            has_grown: false,
        }
    }

    /// Returns what waits to be written.
    pub(crate) fn outbound(&mut self) -> &mut Outbound {
        &mut self.outbound
    }

    /// Queues a frame of the session's own.
    pub(crate) fn queue(&mut self, frame: Bytes) {
        self.outbound.push(frame);
    }

    pub(crate) fn queue_ping(&mut self) {
        self.queue(Bytes::from_static(&[0x89, 0]));
    }

    /// Queues our close frame behind everything that is queued. The codec says nothing any more.
    pub(crate) fn queue_close(&mut self, code: u16, text: &str) {
        self.take_control();
        self.silence();
        self.control.clear();
        self.queue(close_frame(code, text));
    }

    /// Queues the answer to the client's close frame, and nothing behind it.
    pub(crate) fn queue_close_answer(&mut self) {
        self.silence();
        self.take_control();
    }

    /// Whether everything queued was taken by the kernel.
    pub(crate) fn is_flushed(&self) -> bool {
        self.outbound.is_empty() && self.control.is_empty() && !self.has_encrypted()
    }

    /// Whether the kernel has not taken all that is encrypted.
    fn has_encrypted(&self) -> bool {
        self.tls.as_ref().is_some_and(Tls::has_waiting)
    }

    /// Queues what the codec wants to send before everything else, but never inside a frame.
    fn take_control(&mut self) {
        if !self.control.is_empty() {
            self.outbound
                .push_control(Bytes::from(std::mem::take(&mut self.control)));
        }
    }

    /// Writes until nothing is queued, or until the kernel refuses (pending). Asks the kernel each time, whatever the
    /// runtime remembers of the socket's readiness: whether a client is slow is judged by the answer.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.take_control();
            if self.outbound.is_empty() && !self.has_encrypted() {
                return Poll::Ready(Ok(()));
            }
            match self.try_write() {
                Ok(written) => self.outbound.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(self.tcp.poll_write_ready(cx))?;
                    // The readiness was stale. Asking through the runtime clears it.
                    match self.try_write_registered() {
                        Ok(written) => self.outbound.advance(written),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn try_write(&mut self) -> io::Result<usize> {
        match &mut self.tls {
            None => write(&self.tcp, &self.outbound),
            Some(tls) => write_encrypted(&self.tcp, tls, &mut self.outbound),
        }
    }

    fn try_write_registered(&mut self) -> io::Result<usize> {
        let Self {
            tcp, tls, outbound, ..
        } = self;
        tcp.try_io(Interest::WRITABLE, || match tls {
            None => write(tcp, outbound),
            Some(tls) => write_encrypted(tcp, tls, outbound),
        })
    }

    /// Tells the client that nothing more comes.
    pub(crate) fn shutdown_write(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.end();
            if let Err(error) = tls.send(&self.tcp) {
                tracing::trace!(%error, "the client does not take the farewell of TLS");
            }
        }
        if let Err(error) = SockRef::from(&self.tcp).shutdown(std::net::Shutdown::Write) {
            tracing::trace!(%error, "the socket is already gone");
        }
    }
}

/// Writes the first parts; returns the bytes that the kernel has taken.
fn write(tcp: &TcpStream, outbound: &Outbound) -> io::Result<usize> {
    let socket = SockRef::from(tcp);
    if let Some(only) = outbound.only() {
        // The most frequent case: nothing to lay out, and less for the kernel to look at.
        return socket.send(only);
    }
    let mut parts = [IoSlice::new(&[]); WRITE_PARTS];
    let count = outbound.lay_out(&mut parts);
    socket.send_vectored(&parts[..count])
}

/// Writes the first parts as [`write`] does. Bytes count as taken once the kernel has taken all that they were encrypted
/// together with; what was encrypted goes out before anything else.
fn write_encrypted(tcp: &TcpStream, tls: &mut Tls, outbound: &mut Outbound) -> io::Result<usize> {
    loop {
        while tls.has_waiting() {
            tls.send(tcp)?;
            outbound.note_progress();
        }
        if outbound.encrypted() > 0 || outbound.is_empty() {
            return Ok(outbound.encrypted());
        }
        let mut parts = [IoSlice::new(&[]); WRITE_PARTS];
        let count = outbound.lay_out(&mut parts);
        let bytes = tls.encrypt(&parts[..count])?;
        if bytes == 0 {
            return Ok(0);
        }
        outbound.note_encrypted(bytes);
    }
}

/// Completes the closing handshake: the client's close, then ours of the TCP connection.
pub(crate) async fn part(socket: &mut WebSocket, broken: Option<Broken>, deadline: Instant) {
    if broken.is_none() {
        let closed = poll_fn(|cx| {
            loop {
                match socket.poll_read(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Incoming::Text(_) | Incoming::Binary(_) | Incoming::Pong) => {}
                    Poll::Ready(Incoming::Close | Incoming::Broken(_)) => {
                        return Poll::Ready(());
                    }
                }
            }
        });
        if timeout_at(deadline, closed).await.is_err() {
            return;
        }
    }
    socket.shutdown_write();
    let rest = poll_fn(|cx| socket.poll_discard(cx));
    if timeout_at(deadline, rest).await.is_err() {
        tracing::trace!("the client did not close in time");
    }
}

/// Encodes a close frame (RFC 6455, section 5.5.1). A text that does not fit is left out.
fn close_frame(code: u16, text: &str) -> Bytes {
    const FINAL_CLOSE: u8 = 0x88;
    const MOST_BYTES: u8 = 125;
    let (text, len) = match u8::try_from(text.len() + 2) {
        Ok(len) if len <= MOST_BYTES => (text, len),
        _ => ("", 2),
    };
    let mut out = BytesMut::with_capacity(text.len() + 4);
    out.put_slice(&[FINAL_CLOSE, len]);
    out.put_u16(code);
    out.put_slice(text.as_bytes());
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        task::yield_now,
    };

    /// Returns a socket, and its client.
    async fn pair() -> (WebSocket, TcpStream) {
        pair_with("", &[]).await
    }

    /// The same, where HTTP has left something to be sent, and has read something already.
    async fn pair_with(answer: &'static str, read_already: &[u8]) -> (WebSocket, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let (tcp, _) = accepted.unwrap();
        SockRef::from(&tcp).set_send_buffer_size(4 * 1024).unwrap();
        let upgraded = Upgraded {
            permit: None,
            tcp,
            tls: None,
            answer: answer.into(),
            read_already: read_already.to_vec(),
        };
        let socket = WebSocket::new(upgraded, 1024);
        (socket, client.unwrap())
    }

    #[tokio::test]
    async fn nothing_goes_before_the_answer_to_the_handshake() {
        const ANSWER: &str = "HTTP/1.1 101";
        let ping = [0x89, 0x80, 0, 0, 0, 0];
        for dropped in [false, true] {
            let (mut socket, mut client) = pair_with(ANSWER, &ping).await;
            let read = poll_fn(|cx| Poll::Ready(socket.poll_read(cx))).await;
            assert!(read.is_pending());
            socket.take_control();
            if dropped {
                socket.outbound.discard();
            }
            socket.queue_close(1001, "shutdown");
            poll_fn(|cx| socket.poll_write(cx)).await.unwrap();
            drop(socket);
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            let rest = got.strip_prefix(ANSWER.as_bytes()).unwrap();
            let expected: &[u8] = if dropped { &[] } else { &[0x8A, 0] };
            assert_eq!(rest.strip_prefix(expected).unwrap()[0], 0x88, "{got:?}");
        }
    }

    /// Returns a frame as a client sends it.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        if let Ok(len @ 0..126) = u8::try_from(payload.len()) {
            frame.push(0x80 | len);
        } else {
            frame.push(0xFE);
            frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        frame
    }

    async fn text(socket: &mut WebSocket) -> Vec<u8> {
        match poll_fn(|cx| socket.poll_read(cx)).await {
            Incoming::Text(text) => text.as_bytes().to_vec(),
            other => panic!("{other:?}"),
        }
    }

    /// If the client sends a message in pieces, nobody can tell from outside that the codec is through with it.
    #[tokio::test]
    async fn a_large_message_leaves_no_buffer_behind_and_what_follows_it_is_read() {
        let large = [b'x'; 1024];
        let whole = masked(0x81, &large);
        let pieces = [masked(0x01, &large[..512]), masked(0x80, &large[512..])].concat();
        let small = masked(0x81, b"small");
        for (bytes, is_given_back) in [(&whole, true), (&pieces, false)] {
            for cut in 0..=small.len() {
                let (mut socket, mut client) = pair().await;
                let (first, rest) = small.split_at(cut);
                client.write_all(&[bytes, first].concat()).await.unwrap();
                assert_eq!(text(&mut socket).await, large);
                if !rest.is_empty() {
                    let read = poll_fn(|cx| Poll::Ready(socket.poll_read(cx))).await;
                    assert!(read.is_pending());
                    client.write_all(rest).await.unwrap();
                }
                assert_eq!(text(&mut socket).await, b"small");
                let read = poll_fn(|cx| Poll::Ready(socket.poll_read(cx))).await;
                assert!(read.is_pending());
                let is_empty = socket.unread == 0 && !socket.has_grown;
                assert_eq!(is_empty, is_given_back, "{cut}");
            }
        }
    }

    #[test]
    fn a_close_frame_has_its_code_and_a_text_that_fits() {
        assert_eq!(close_frame(4000, "slow")[..], *b"\x88\x06\x0F\xA0slow");
        assert_eq!(
            close_frame(1001, &"x".repeat(124))[..],
            *b"\x88\x02\x03\xE9"
        );
    }

    /// Reads once.
    async fn read(socket: &mut WebSocket) -> Poll<Incoming> {
        poll_fn(|cx| Poll::Ready(socket.poll_read(cx))).await
    }

    #[tokio::test]
    async fn a_socket_at_rest_hears_what_comes() {
        let text = [0x81, 0x81, 0, 0, 0, 0, b'x'];
        let (mut socket, mut client) = pair().await;
        for _ in 0..3 {
            assert!(read(&mut socket).await.is_pending());
            assert!(socket.at_rest);
            client.write_all(&text).await.unwrap();
            let heard = poll_fn(|cx| socket.poll_read(cx)).await;
            assert!(matches!(heard, Incoming::Text(text) if text.as_str() == "x"));
        }
        drop(client);
        let heard = poll_fn(|cx| socket.poll_read(cx)).await;
        assert!(matches!(heard, Incoming::Broken(Broken::Lost)), "{heard:?}");
    }

    /// The runtime knows nothing of the bytes: it does not get a turn in between.
    #[tokio::test]
    async fn a_socket_at_rest_that_is_to_ask_the_kernel_asks_it() {
        let (mut socket, client) = pair().await;
        assert!(read(&mut socket).await.is_pending());
        assert!(socket.at_rest);
        SockRef::from(&client)
            .send(&[0x81, 0x81, 0, 0, 0, 0, b'x'])
            .unwrap();
        assert!(read(&mut socket).await.is_pending());
        socket.ask_kernel();
        let heard = read(&mut socket).await;
        assert!(matches!(heard, Poll::Ready(Incoming::Text(_))), "{heard:?}");
    }

    #[tokio::test]
    async fn pongs_that_nobody_reads_are_bounded() {
        const MOST_PONG_BYTES: usize = 127;
        let (mut socket, mut client) = pair().await;
        let mut ping = vec![0x89, 0xFD, 0, 0, 0, 0];
        ping.extend([b'x'; 125]);
        let pings = ping.repeat(1_000);
        let flood = tokio::spawn(async move { while client.write_all(&pings).await.is_ok() {} });
        // Reads and writes in turn until neither does anything.
        loop {
            let (mut wrote, mut read) = (false, false);
            poll_fn(|cx| {
                wrote = socket.poll_write(cx).is_ready() && socket.outbound.take_written().progress;
                read = socket.poll_read(cx).is_ready();
                Poll::Ready(())
            })
            .await;
            let waiting = socket.outbound.control_bytes() + socket.control.len();
            assert!(
                waiting <= CONTROL_BYTES + MOST_PONG_BYTES,
                "{waiting} bytes wait"
            );
            assert!(!read, "there is nothing but pings");
            if !wrote && waiting > CONTROL_BYTES {
                break;
            }
            yield_now().await;
        }
        flood.abort();
    }
}
