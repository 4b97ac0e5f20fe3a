//! One upgraded socket: reading through tungstenite's codec, writing frames that are ready-made.
//!
//! The codec never touches the socket's writing side. What it wants to send of its own (pongs, the
//! closing handshake) it writes into a buffer, which takes its place between whole frames. So the
//! bytes of an event are encoded once for all sockets, and everything that waits goes out in one
//! vectored write.

use std::{
    future::{Future as _, poll_fn},
    io::{self, ErrorKind, IoSlice, Read, Write},
    pin::pin,
    task::{Context, Poll, ready},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use socket2::SockRef;
use tokio::{
    io::Interest,
    net::TcpStream,
    task::yield_now,
    time::{Instant, timeout_at},
};
use tungstenite::{
    Message, Utf8Bytes,
    error::{CapacityError, Error},
    protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext, frame::coding::CloseCode},
};

use super::{Upgraded, outbound::Writing, tcp_gauge::Place};
use crate::{position::Position, protocol::Ending};

/// Parts in one vectored write at most (Linux takes 1,024).
const PARTS: usize = 64;
/// While so many bytes of pongs wait to be written, nothing more is read.
const CONTROL_BYTES: usize = 4 * 1024;
/// Clients say little, and every socket keeps this much.
const READ_BUFFER_BYTES: usize = 256;
/// Bytes read before other tasks get a turn.
const READ_TURN_BYTES: usize = 16 * 1024;
/// How the codec words its answer to a close code that may not be sent (RFC 6455, section 7.4).
const CODE_REFUSED: &str = "Protocol violation";

/// What arrived.
#[derive(Debug)]
pub(crate) enum Incoming {
    Text(Utf8Bytes),
    Binary(Bytes),
    Pong,
    /// The client began the closing handshake, and was answered.
    Close,
    Broken(Broken),
}

/// Why nothing more can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Broken {
    /// The socket is gone without a closing handshake.
    Lost,
    /// Both sides have closed.
    Finished,
    Protocol,
    Binary,
    NotUtf8,
    TooBig,
}

impl Broken {
    /// Returns the ending that it means for the session.
    pub(crate) fn ending(self) -> Ending {
        match self {
            Self::Lost => Ending::ConnectionLost,
            Self::Finished => Ending::ClientLeft,
            Self::Protocol => Ending::ProtocolError,
            Self::Binary => Ending::Binary,
            Self::NotUtf8 => Ending::NotUtf8,
            Self::TooBig => Ending::TooBig,
        }
    }
}

/// A WebSocket of which this is the only owner.
pub(crate) struct WebSocket {
    tcp: TcpStream,
    _place: Option<Place>,
    codec: WebSocketContext,
    /// What the codec wants to send.
    control: Vec<u8>,
    writing: Writing,
    /// Bytes that may still be read in this turn.
    turn: usize,
    /// Whether reads go to the kernel, whatever the runtime remembers.
    ask_kernel: bool,
    /// Whether the codec has given all that it has, and waits for the socket.
    at_rest: bool,
}

/// The socket as the codec sees it.
struct Side<'a> {
    tcp: &'a TcpStream,
    control: &'a mut Vec<u8>,
    turn: &'a mut usize,
    ask_kernel: &'a mut bool,
}

impl Read for Side<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if *self.turn == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let read = if *self.ask_kernel {
            (&*SockRef::from(self.tcp)).read(buf)
        } else {
            self.tcp.try_read(buf)
        };
        match read {
            Ok(read) => *self.turn = self.turn.saturating_sub(read),
            Err(_) => *self.ask_kernel = false,
        }
        read
    }
}

impl Write for Side<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.control.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WebSocket {
    /// Takes over an upgraded socket.
    pub(crate) fn new(upgraded: Upgraded, message_bytes: usize, start: Position) -> Self {
        let Upgraded {
            tcp,
            place,
            answer,
            read_already,
        } = upgraded;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(CONTROL_BYTES * 4)
            .max_message_size(Some(message_bytes))
            .max_frame_size(Some(message_bytes));
        Self {
            tcp,
            _place: place,
            codec: WebSocketContext::from_partially_read(read_already, Role::Server, Some(config)),
            control: Vec::new(),
            writing: Writing::behind(answer, start),
            turn: READ_TURN_BYTES,
            ask_kernel: false,
            at_rest: false,
        }
    }

    /// What waits to be written.
    pub(crate) fn writing(&mut self) -> &mut Writing {
        &mut self.writing
    }

    /// Queues a frame of this connection's own.
    pub(crate) fn queue(&mut self, frame: Bytes) {
        self.writing.push(frame);
    }

    /// Queues a ping.
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

    /// Makes the codec say what it still has to say, and nothing after that.
    fn silence(&mut self) {
        let mut side = Side {
            tcp: &self.tcp,
            control: &mut self.control,
            turn: &mut self.turn,
            ask_kernel: &mut self.ask_kernel,
        };
        // It complains where the handshake is over already.
        if let Err(error) = self.codec.close(&mut side, None) {
            tracing::trace!(%error, "the codec is closed");
        }
    }

    /// Whether everything queued was taken by the kernel.
    pub(crate) fn is_flushed(&self) -> bool {
        self.writing.is_empty() && self.control.is_empty()
    }

    /// Puts what the codec wants to send in front, but never inside a frame.
    fn take_control(&mut self) {
        if !self.control.is_empty() {
            self.writing
                .push_control(Bytes::from(std::mem::take(&mut self.control)));
        }
    }

    /// Writes until nothing is queued, or until the kernel refuses (pending). The kernel is asked
    /// each time, whatever the runtime remembers of its readiness: whether a client is slow is
    /// judged by the answer.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.take_control();
            if self.writing.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match self.try_write() {
                Ok(written) => self.writing.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(self.tcp.poll_write_ready(cx))?;
                    // The readiness was stale. Asking through the runtime clears it.
                    match self.try_write_registered() {
                        Ok(written) => self.writing.advance(written),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn try_write(&self) -> io::Result<usize> {
        let socket = SockRef::from(&self.tcp);
        if let Some(only) = self.writing.only() {
            // Most often; nothing is laid out for it, and the kernel has less to look at.
            return socket.send(only);
        }
        let mut parts = [IoSlice::new(&[]); PARTS];
        let count = self.writing.lay_out(&mut parts);
        socket.send_vectored(&parts[..count])
    }

    fn try_write_registered(&self) -> io::Result<usize> {
        self.tcp.try_io(Interest::WRITABLE, || self.try_write())
    }

    /// Makes the next reads ask the kernel, until it has nothing more, whatever the runtime remembers
    /// of the socket: after a long stop of this process the runtime learns only bit by bit of what
    /// arrived.
    pub(crate) fn ask_kernel(&mut self) {
        self.ask_kernel = true;
    }

    /// The next message. Pings are answered on the way.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        loop {
            // Most often the task was woken by something else, and the codec need not be asked.
            if self.at_rest && !self.ask_kernel && ready!(self.tcp.poll_read_ready(cx)).is_err() {
                return Poll::Ready(Incoming::Broken(Broken::Lost));
            }
            self.at_rest = false;
            if self.control.len() + self.writing.control_bytes() > CONTROL_BYTES {
                // The client asks faster than it listens. Whoever writes reads on afterwards.
                return Poll::Pending;
            }
            let mut side = Side {
                tcp: &self.tcp,
                control: &mut self.control,
                turn: &mut self.turn,
                ask_kernel: &mut self.ask_kernel,
            };
            let incoming = match self.codec.read(&mut side) {
                Ok(Message::Text(text)) => Incoming::Text(text),
                Ok(Message::Binary(payload)) => Incoming::Binary(payload),
                Ok(Message::Pong(_)) => Incoming::Pong,
                Ok(Message::Close(frame)) => closed(frame.as_ref()),
                Ok(Message::Ping(_) | Message::Frame(_)) => continue,
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    if self.turn == 0 {
                        return self.end_turn(cx);
                    }
                    self.at_rest = true;
                    continue;
                }
                Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Incoming::Broken(broken(&error)),
            };
            return Poll::Ready(incoming);
        }
    }

    /// Pending until there may be something to read; also at the end of a turn, when the task is
    /// woken at once.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.turn > 0 {
            return self.tcp.poll_read_ready(cx);
        }
        self.end_turn(cx)
    }

    /// Pending until others had their turn.
    fn end_turn<T>(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        self.turn = READ_TURN_BYTES;
        after_others(cx);
        Poll::Pending
    }

    /// Reads and drops whatever still arrives, until the client closes: closing with unread bytes
    /// would reset the connection and could take our last words with it.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut buffer = [0; 1024];
        loop {
            let read = match self.turn {
                0 => Err(ErrorKind::WouldBlock.into()),
                _ => self.tcp.try_read(&mut buffer),
            };
            match read {
                Ok(0) => return Poll::Ready(()),
                Ok(read) => self.turn = self.turn.saturating_sub(read),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if ready!(self.poll_readable(cx)).is_err() {
                        return Poll::Ready(());
                    }
                }
                Err(_) => return Poll::Ready(()),
            }
        }
    }

    /// Tells the client that nothing more comes.
    pub(crate) fn shutdown_write(&self) {
        if let Err(error) = SockRef::from(&self.tcp).shutdown(std::net::Shutdown::Write) {
            tracing::trace!(%error, "the socket is gone already");
        }
    }
}

/// The rest of the closing handshake: the client's close, then ours of the TCP connection.
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

/// Wakes the task when the others had their turn, and the runtime has looked at sockets and timers:
/// a task that merely woke itself would be on again before that.
pub(crate) fn after_others(cx: &mut Context<'_>) {
    let yielding = pin!(yield_now()).poll(cx);
    debug_assert!(yielding.is_pending());
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

/// The client's close frame, whose code the codec has replaced if it may not be sent.
fn closed(frame: Option<&CloseFrame>) -> Incoming {
    match frame {
        Some(frame)
            if frame.code == CloseCode::Protocol && frame.reason.as_str() == CODE_REFUSED =>
        {
            Incoming::Broken(Broken::Protocol)
        }
        _ => Incoming::Close,
    }
}

fn broken(error: &Error) -> Broken {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => Broken::Finished,
        Error::Utf8(_) => Broken::NotUtf8,
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Broken::TooBig,
        Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)
        | Error::Io(_) => Broken::Lost,
        _ => Broken::Protocol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::outbox::End;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    /// A socket, and its client.
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
            place: None,
            tcp,
            answer: answer.into(),
            read_already: read_already.to_vec(),
        };
        let socket = WebSocket::new(upgraded, 1024, Position::START);
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
                let end = End {
                    ending: Ending::Shutdown,
                    position: Position::START,
                    drain: false,
                };
                socket.writing.conclude(end, Vec::new(), true);
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
                wrote = socket.poll_write(cx).is_ready() && socket.writing.take_written().progress;
                read = socket.poll_read(cx).is_ready();
                Poll::Ready(())
            })
            .await;
            let waiting = socket.writing.control_bytes() + socket.control.len();
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

    #[test]
    fn a_close_frame_has_its_code_and_a_text_that_fits() {
        assert_eq!(close_frame(4000, "slow")[..], *b"\x88\x06\x0F\xA0slow");
        assert_eq!(
            close_frame(1001, &"x".repeat(124))[..],
            *b"\x88\x02\x03\xE9"
        );
    }
}
