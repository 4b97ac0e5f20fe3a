//! One upgraded socket: reading through tungstenite's codec, writing frames that are ready-made.
//!
//! The codec never touches the socket's writing side. What it wants to send of its own (pongs, the
//! closing handshake) it writes into a buffer, which takes its place between whole frames. So the
//! bytes of an event are encoded once for all sockets, and everything that waits goes out in one
//! vectored write.

use std::{
    io::{self, ErrorKind, IoSlice, Read, Write},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream};
use tungstenite::{
    Message, Utf8Bytes,
    error::{CapacityError, Error},
    protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext, frame::coding::CloseCode},
};

use super::writing::Writing;
use crate::position::Position;

/// Parts in one vectored write at most (Linux takes 1,024).
const PARTS: usize = 64;
/// While so many bytes of pongs wait, nothing more is read.
const CONTROL_BYTES: usize = 4 * 1024;
const READ_BUFFER_BYTES: usize = 1024;

/// What arrived.
#[derive(Debug)]
pub(super) enum Incoming {
    Text(Utf8Bytes),
    Pong,
    /// The client began the closing handshake, and was answered.
    Close,
    Broken(Broken),
}

/// Why nothing more can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    /// The socket is gone without a closing handshake.
    Lost,
    /// Both sides have closed.
    Finished,
    Protocol,
    Binary,
    NotUtf8,
    TooBig,
}

/// A WebSocket of which this is the only owner.
pub(super) struct WebSocket {
    tcp: TcpStream,
    codec: WebSocketContext,
    /// What the codec wants to send.
    control: Vec<u8>,
    pub(super) writing: Writing,
    /// Whether the kernel has taken bytes since this was asked last.
    progress: bool,
}

/// The socket as the codec sees it.
struct Side<'a> {
    tcp: &'a TcpStream,
    control: &'a mut Vec<u8>,
}

impl Read for Side<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.tcp.try_read(buf)
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
    /// Takes over an upgraded stream of a client that is at `start`; `read_already` is what the HTTP
    /// layer had read beyond the request.
    pub(super) fn new(
        tcp: TcpStream,
        read_already: Vec<u8>,
        message_bytes: usize,
        start: Position,
    ) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(CONTROL_BYTES * 4)
            .max_message_size(Some(message_bytes))
            .max_frame_size(Some(message_bytes));
        Self {
            tcp,
            codec: WebSocketContext::from_partially_read(read_already, Role::Server, Some(config)),
            control: Vec::new(),
            writing: Writing::new(start),
            progress: false,
        }
    }

    /// Whether the kernel has taken bytes since this was asked last.
    pub(super) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.progress)
    }

    /// Queues a ping.
    pub(super) fn queue_ping(&mut self) {
        self.writing.push(Bytes::from_static(&[0x89, 0]));
    }

    /// Queues our part of the closing handshake, behind everything that is queued: a close with this
    /// code, or the answer to the client's own.
    pub(super) fn queue_close(&mut self, code: u16, text: &'static str) {
        self.take_control();
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: Utf8Bytes::from_static(text),
        };
        let mut side = Side {
            tcp: &self.tcp,
            control: &mut self.control,
        };
        // The codec says that it is closed once it has written its answer to the client's close.
        if let Err(error) = self.codec.close(&mut side, Some(frame)) {
            tracing::trace!(%error, "the closing handshake was under way");
        }
        if !self.control.is_empty() {
            self.writing
                .push(Bytes::from(std::mem::take(&mut self.control)));
        }
    }

    /// Whether everything queued was taken by the kernel.
    pub(super) fn is_flushed(&self) -> bool {
        self.writing.is_empty() && self.control.is_empty()
    }

    /// Puts what the codec wants to send in front, but never inside a frame.
    fn take_control(&mut self) {
        if !self.control.is_empty() {
            let control = Bytes::from(std::mem::take(&mut self.control));
            self.writing.push_control(control);
        }
    }

    /// Whether nothing is read for now, because the client asks faster than it listens. Writing goes
    /// on; whoever sees this end must read again, since nothing else wakes the task.
    pub(super) fn holds_reading(&self) -> bool {
        self.control.len() + self.writing.control_bytes() > CONTROL_BYTES
    }

    /// Writes until nothing is queued, or until the kernel refuses (pending). The kernel is asked
    /// each time, whatever the runtime remembers of its readiness: whether a client is slow is
    /// judged by the answer.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.take_control();
            if self.writing.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match self.try_write() {
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(self.tcp.poll_write_ready(cx))?;
                    // The readiness was stale. Asking through the runtime clears it.
                    match self.try_write_registered() {
                        Ok(written) => self.advance(written),
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
        let mut parts = [IoSlice::new(&[]); PARTS];
        let count = self.writing.lay_out(&mut parts);
        SockRef::from(&self.tcp).send_vectored(&parts[..count])
    }

    fn try_write_registered(&self) -> io::Result<usize> {
        self.tcp.try_io(Interest::WRITABLE, || self.try_write())
    }

    fn advance(&mut self, written: usize) {
        self.progress = true;
        self.writing.advance(written);
    }

    /// The next message. Pings are answered on the way.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        loop {
            if self.holds_reading() {
                return Poll::Pending;
            }
            let mut side = Side {
                tcp: &self.tcp,
                control: &mut self.control,
            };
            let incoming = match self.codec.read(&mut side) {
                Ok(Message::Text(text)) => Incoming::Text(text),
                Ok(Message::Binary(_)) => Incoming::Broken(Broken::Binary),
                Ok(Message::Pong(_)) => Incoming::Pong,
                Ok(Message::Close(_)) => Incoming::Close,
                Ok(Message::Ping(_) | Message::Frame(_)) => continue,
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    match ready!(self.tcp.poll_read_ready(cx)) {
                        Ok(()) => continue,
                        Err(_) => Incoming::Broken(Broken::Lost),
                    }
                }
                Err(error) => Incoming::Broken(broken(&error)),
            };
            return Poll::Ready(incoming);
        }
    }

    /// Reads and drops whatever still arrives, until the client closes: closing with unread bytes
    /// would reset the connection and could take our last words with it.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut buffer = [0; 1024];
        loop {
            match self.tcp.try_read(&mut buffer) {
                Ok(0) => return Poll::Ready(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if ready!(self.tcp.poll_read_ready(cx)).is_err() {
                        return Poll::Ready(());
                    }
                }
                Err(_) => return Poll::Ready(()),
            }
        }
    }

    /// Tells the client that nothing more comes.
    pub(super) fn shutdown_write(&self) {
        if let Err(error) = SockRef::from(&self.tcp).shutdown(std::net::Shutdown::Write) {
            tracing::trace!(%error, "the socket is gone already");
        }
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
