//! The ways to a client: a WebSocket, or an answer with server-sent events.

#[cfg(test)]
pub(crate) mod echo;
mod gauged_tcp;
mod outbound;
mod permit;
mod sse;
mod tcp_gauge;
mod tls;
mod websocket;

use std::{
    io,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::time::Instant;

pub(crate) use self::{
    gauged_tcp::GaugedTcp,
    outbound::{Outbound, Place},
    permit::{AddressPermits, TcpPermit},
    sse::event_stream,
    tcp_gauge::TcpGauge,
    tls::Tls,
    websocket::{Broken, Incoming, Upgraded, after_others},
};
use self::{
    sse::{EventStream, Streaming},
    websocket::{WebSocket, part},
};

/// A way to a client, as HTTP hands it over.
#[derive(Debug)]
pub(crate) enum Carrier {
    Socket(Upgraded),
    /// The body of an answer.
    Stream(EventStream),
}

/// One of the two, with one interface.
pub(crate) enum Transport {
    Socket(Box<WebSocket>),
    Stream(Box<Streaming>),
}

impl Transport {
    pub(crate) fn new(carrier: Carrier, message_bytes: usize) -> Self {
        match carrier {
            Carrier::Socket(upgraded) => {
                let socket = WebSocket::new(upgraded, message_bytes);
                Self::Socket(Box::new(socket))
            }
            Carrier::Stream(stream) => Self::Stream(Box::new(Streaming::new(stream))),
        }
    }

    /// Returns what waits to be written.
    pub(crate) fn outbound(&mut self) -> &mut Outbound {
        match self {
            Self::Socket(socket) => socket.outbound(),
            Self::Stream(stream) => stream.outbound(),
        }
    }

    /// Queues a frame of the session's own.
    pub(crate) fn queue(&mut self, frame: Bytes) {
        self.outbound().push(frame);
    }

    /// Queues a sign of life.
    pub(crate) fn queue_ping(&mut self) {
        match self {
            Self::Socket(socket) => socket.queue_ping(),
            Self::Stream(stream) => stream.queue_comment(),
        }
    }

    /// Queues the end, behind everything that is queued.
    pub(crate) fn queue_close(&mut self, code: u16, text: &str) {
        match self {
            Self::Socket(socket) => socket.queue_close(code, text),
            // The end of the body says it.
            Self::Stream(_) => {}
        }
    }

    /// Queues the answer to the client's farewell, and nothing behind it.
    pub(crate) fn queue_close_answer(&mut self) {
        match self {
            Self::Socket(socket) => socket.queue_close_answer(),
            Self::Stream(_) => {}
        }
    }

    /// Makes the next reads ask the kernel, whatever the runtime remembers.
    pub(crate) fn ask_kernel(&mut self) {
        match self {
            Self::Socket(socket) => socket.ask_kernel(),
            Self::Stream(_) => {}
        }
    }

    /// Whether everything queued was taken.
    pub(crate) fn is_flushed(&self) -> bool {
        match self {
            Self::Socket(socket) => socket.is_flushed(),
            Self::Stream(stream) => stream.is_flushed(),
        }
    }

    /// Writes until nothing is queued, or until no more is taken (pending).
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Socket(socket) => socket.poll_write(cx),
            Self::Stream(stream) => stream.poll_write(cx).map(Ok),
        }
    }

    /// Whether the kernel has refused bytes; to be called after a write that was pending. If only an attempt of HTTP's
    /// task can tell, it is made only if it is `wanted`.
    pub(crate) fn refused(&mut self, cx: &Context<'_>, wanted: bool) -> bool {
        match self {
            Self::Socket(_) => true,
            Self::Stream(stream) => stream.refused(cx, wanted),
        }
    }

    /// Whether the kernel has taken bytes since this was asked last, besides those that [`Outbound`] accounts for.
    pub(crate) fn take_progress(&mut self) -> bool {
        match self {
            Self::Socket(_) => false,
            Self::Stream(stream) => stream.take_progress(),
        }
    }

    /// Reads what has arrived.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        match self {
            Self::Socket(socket) => socket.poll_read(cx),
            Self::Stream(stream) => stream.poll_read(cx),
        }
    }

    /// Completes the closing, once the last words are `written` or the time for them is over.
    pub(crate) async fn part(&mut self, broken: Option<Broken>, written: bool, deadline: Instant) {
        match self {
            Self::Socket(socket) if written => part(socket, broken, deadline).await,
            Self::Socket(_) => {}
            Self::Stream(stream) => stream.part(deadline).await,
        }
    }
}
