//! The reading side of a WebSocket: tungstenite's codec over the socket.
//!
//! The codec never writes to the socket. What it wants to send of its own (pongs, the answer to a close) it
//! writes into a buffer, which the writing side sends between whole frames.

use std::{
    future::Future as _,
    io::{self, ErrorKind, Read, Write},
    pin::pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use socket2::SockRef;
use tokio::{net::TcpStream, task::yield_now};
use tungstenite::{
    Message, Utf8Bytes,
    error::{CapacityError, Error},
    protocol::{CloseFrame, Role, WebSocketContext, frame::coding::CloseCode},
};

use super::{CONTROL_BYTES, Tls, WebSocket};
use crate::protocol::Ending;

/// Bytes read before other tasks get a turn.
pub(super) const READ_TURN_BYTES: usize = 16 * 1024;
/// A message of this size leaves a buffer behind that is worth giving back.
const LARGE_BYTES: usize = 1024;
/// The codec's wording of its answer to a close code that may not be sent (RFC 6455, section 7.4).
const CODE_REFUSED: &str = "Protocol violation";

/// Something that arrived.
#[derive(Debug)]
pub(crate) enum Incoming {
    Text(Utf8Bytes),
    Binary(Bytes),
    Pong,
    /// The client began the closing handshake, and was answered.
    Close,
    Broken(Broken),
}

/// The reason why nothing more can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Broken {
    /// The socket closed without a closing handshake.
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

/// The socket as the codec sees it.
struct Side<'a> {
    wire: Wire<'a>,
    tls: Option<&'a mut Tls>,
    control: &'a mut Vec<u8>,
    unread: &'a mut usize,
}

/// The reading side of the TCP connection.
struct Wire<'a> {
    tcp: &'a TcpStream,
    turn: &'a mut usize,
    ask_kernel: &'a mut bool,
}

impl Read for Side<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.tls {
            None => self.wire.read(buf),
            Some(tls) => tls.read(&mut self.wire, buf),
        };
        *self.unread += read.as_ref().copied().unwrap_or(0);
        read
    }
}

impl Read for Wire<'_> {
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
    /// Returns the codec, and the socket as it sees it.
    fn sides(&mut self) -> (&mut WebSocketContext, Side<'_>) {
        let side = Side {
            wire: Wire {
                tcp: &self.tcp,
                turn: &mut self.turn,
                ask_kernel: &mut self.ask_kernel,
            },
            tls: self.tls.as_mut(),
            control: &mut self.control,
            unread: &mut self.unread,
        };
        (&mut self.codec, side)
    }

    /// Notes a message that the codec has given. Its frame had so many bytes at the least (RFC 6455, section 5.2), and
    /// more if the client was lavish with its header, or sent it in several.
    fn note_given(&mut self, payload: usize) {
        const HEADER: usize = 6;
        let length = match payload {
            0..126 => 0,
            126..0x1_0000 => 2,
            _ => 8,
        };
        self.unread = self.unread.saturating_sub(HEADER + length + payload);
        self.has_grown |= payload >= LARGE_BYTES;
    }

    /// Gives the codec's buffer back, if that has grown. It is empty for sure where everything that was read was given:
    /// that counts too little, never too much.
    fn give_buffer_back(&mut self) {
        if self.has_grown && self.unread == 0 {
            self.has_grown = false;
            let config = *self.codec.get_config();
            self.codec =
                WebSocketContext::from_partially_read(Vec::new(), Role::Server, Some(config));
        }
    }

    /// Makes the codec send what it still has to send, and nothing after that.
    pub(super) fn silence(&mut self) {
        // From here on it knows that it closes, and is not to forget that.
        self.unread += 1;
        let (codec, mut side) = self.sides();
        // It returns an error if the handshake is over already.
        if let Err(error) = codec.close(&mut side, None) {
            tracing::trace!(%error, "the codec is closed");
        }
    }

    /// Makes the next reads ask the kernel, until it has nothing more, whatever the runtime remembers of the socket: after a
    /// long stop of this process, the runtime learns only bit by bit of what arrived.
    pub(crate) fn ask_kernel(&mut self) {
        self.ask_kernel = true;
    }

    /// Reads the next message. Pings are answered on the way.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        loop {
            // Most often something else woke the task, and the codec need not be asked.
            if self.at_rest && !self.ask_kernel && ready!(self.tcp.poll_read_ready(cx)).is_err() {
                return Poll::Ready(Incoming::Broken(Broken::Lost));
            }
            self.at_rest = false;
            if self.control.len() + self.outbound.control_bytes() > CONTROL_BYTES {
                // The client asks faster than it listens. Reading goes on after a write.
                return Poll::Pending;
            }
            let (codec, mut side) = self.sides();
            let read = codec.read(&mut side);
            if let Ok(message) = &read
                && !message.is_close()
            {
                self.note_given(message.len());
            }
            let incoming = match read {
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
                    self.give_buffer_back();
                    continue;
                }
                Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Incoming::Broken(broken(&error)),
            };
            return Poll::Ready(incoming);
        }
    }

    /// Pending until there may be something to read; also at the end of a turn, when the task is woken at once.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.turn > 0 {
            return self.tcp.poll_read_ready(cx);
        }
        self.end_turn(cx)
    }

    /// Pending until other tasks had their turn.
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
}

/// Wakes the task when other tasks had their turn, and the runtime has looked at sockets and timers: a task that merely
/// woke itself would run again before that.
pub(crate) fn after_others(cx: &mut Context<'_>) {
    let yielding = pin!(yield_now()).poll(cx);
    debug_assert!(yielding.is_pending());
}

/// Interprets the client's close frame, whose code the codec has replaced if it may not be sent.
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
