//! Server-sent events: the body of an HTTP answer that ends when the connection does.
//!
//! HTTP's task takes chunks from a queue that holds one. While it is full, the client may be slow, or HTTP's task has
//! merely not run yet: the [`TcpGauge`] below HTTP tells the two apart.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_util::sync::PollSender;

use super::{Incoming, outbound::Outbound, tcp_gauge::TcpGauge};

/// Frames are joined up to this size; a larger one goes alone.
const CHUNK_BYTES: usize = 16 * 1024;
/// The most frames in one chunk.
const CHUNK_PARTS: usize = 64;
/// The time after which a client whose answer broke comes back, unless an `ended` says otherwise. No empty line follows:
/// an event without an id, before the first one with an id, would make the client forget where it was (WHATWG HTML,
/// section 9.2.6: each answer begins with no id, and each empty line takes over what there is).
const RETRY: &[u8] = b"retry: 2000\n";
/// A comment, so that proxies see that the answer goes on. No empty line follows it either.
const COMMENT: &[u8] = b":\n";

/// The writing end of one answer. The answer ends when this is dropped.
#[derive(Debug)]
pub(crate) struct EventStream {
    chunks: PollSender<Bytes>,
    gauge: Arc<TcpGauge>,
}

/// Returns the writing end of an answer, and its body.
pub(crate) fn event_stream(
    gauge: Arc<TcpGauge>,
) -> (
    EventStream,
    impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) {
    gauge.stream();
    let (sender, mut receiver) = mpsc::channel(1);
    let chunks = PollSender::new(sender);
    let body =
        futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx).map(|chunk| chunk.map(Ok)));
    (EventStream { chunks, gauge }, body)
}

/// An answer that is being written.
pub(crate) struct Streaming {
    stream: EventStream,
    outbound: Outbound,
    bytes_taken: u64,
    /// The refusals so far when HTTP was asked to try again.
    asked_at: Option<u64>,
    /// True if the client does not want the answer any more.
    left: bool,
}

impl Streaming {
    /// Begins the answer.
    pub(crate) fn new(stream: EventStream) -> Self {
        let mut outbound = Outbound::new();
        outbound.push(Bytes::from_static(RETRY));
        Self {
            stream,
            outbound,
            bytes_taken: 0,
            asked_at: None,
            left: false,
        }
    }

    /// Returns what waits to be written.
    pub(crate) fn outbound(&mut self) -> &mut Outbound {
        &mut self.outbound
    }

    /// Queues a comment, unless the client gets something anyway.
    pub(crate) fn queue_comment(&mut self) {
        if self.outbound.is_empty() {
            self.outbound.push(Bytes::from_static(COMMENT));
        }
    }

    pub(crate) fn is_flushed(&self) -> bool {
        self.outbound.is_empty()
    }

    /// Whether the kernel has taken bytes since this was asked last.
    pub(crate) fn take_progress(&mut self) -> bool {
        let taken = self.stream.gauge.bytes_taken();
        std::mem::replace(&mut self.bytes_taken, taken) != taken
    }

    /// Hands everything queued to HTTP; pending while that takes nothing.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.outbound.is_empty() {
            let reserved = ready!(self.stream.chunks.poll_reserve(cx));
            let chunk = self.chunk();
            let bytes = chunk.len();
            if reserved.is_err() || self.stream.chunks.send_item(chunk).is_err() {
                // Reading reports it.
                self.left = true;
                return Poll::Pending;
            }
            self.outbound.advance(bytes);
            self.asked_at = None;
        }
        Poll::Ready(())
    }

    /// Joins the next whole frames into a chunk.
    fn chunk(&self) -> Bytes {
        let mut parts = [IoSlice::new(&[]); CHUNK_PARTS];
        let count = self.outbound.lay_out(&mut parts);
        let mut chunk = BytesMut::new();
        for part in &parts[..count] {
            if !chunk.is_empty() && chunk.len() + part.len() > CHUNK_BYTES {
                break;
            }
            chunk.extend_from_slice(part);
        }
        chunk.freeze()
    }

    /// Whether the kernel has refused bytes; to be called when nothing could be handed over. If the answer is `wanted`,
    /// HTTP is asked to try again, and a later call returns the outcome: only an attempt tells a slow client from a busy
    /// node.
    pub(crate) fn refused(&mut self, cx: &Context<'_>, wanted: bool) -> bool {
        self.stream.gauge.watch(cx);
        let refusals = self.stream.gauge.refusals();
        match self.asked_at {
            Some(before) if refusals > before => {
                self.asked_at = None;
                true
            }
            None if wanted => {
                self.asked_at = Some(refusals);
                self.stream.gauge.attempt();
                false
            }
            _ => false,
        }
    }

    /// Reads nothing: the client can only leave.
    pub(crate) fn poll_read(&mut self, cx: &Context<'_>) -> Poll<Incoming> {
        self.stream.gauge.watch(cx);
        if self.left || self.stream.gauge.is_gone() {
            return Poll::Ready(Incoming::Close);
        }
        Poll::Pending
    }

    /// Ends the answer and waits until the client has all of it. The TCP connection of a client that does not take it in
    /// time is aborted: HTTP alone would wait for ever.
    pub(crate) async fn part(&mut self, deadline: Instant) {
        self.stream.chunks.close();
        if self.left {
            return;
        }
        let gone = poll_fn(|cx| {
            self.stream.gauge.watch(cx);
            if self.stream.gauge.is_gone() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        if timeout_at(deadline, gone).await.is_err() {
            self.stream.gauge.abort();
        }
    }
}
