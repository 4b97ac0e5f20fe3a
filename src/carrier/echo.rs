//! The WebSocket of a session, with an echo behind it, for clients that test whether it speaks the protocol right
//! (docs/conformance.md).

use std::{
    future::poll_fn,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    Carrier,
    websocket::{Broken, Incoming, WebSocket, part},
};
use crate::protocol::{Dialect, Message};

const BINARY: u8 = 0x82;
/// The largest message. All other bounds are those of a session.
const MESSAGE_BYTES: usize = 32 << 20;
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves one client until it closes.
pub(crate) async fn serve(carrier: Carrier) {
    let Carrier::Socket(upgraded) = carrier else {
        return;
    };
    let mut socket = WebSocket::new(upgraded, MESSAGE_BYTES);
    let broken = run(&mut socket).await;
    if broken == Some(Broken::Lost) {
        return;
    }
    match broken {
        None => socket.queue_close_answer(),
        Some(broken) => {
            let ending = broken.ending();
            socket.queue_close(ending.code(), ending.token());
        }
    }
    if poll_fn(|cx| socket.poll_write(cx)).await.is_ok() {
        part(&mut socket, broken, Instant::now() + CLOSE_TIMEOUT).await;
    }
}

/// Echoes until the client closes, or breaks the rules.
async fn run(socket: &mut WebSocket) -> Option<Broken> {
    loop {
        match poll_fn(|cx| poll(socket, cx)).await {
            Incoming::Text(text) => socket.queue(frame(text.to_string())),
            Incoming::Binary(payload) => socket.queue(binary(&payload)),
            Incoming::Pong => {}
            Incoming::Close => return None,
            Incoming::Broken(broken) => return Some(broken),
        }
    }
}

/// Writes what is queued, then reads; what reading queued goes out at once.
fn poll(socket: &mut WebSocket, cx: &mut Context<'_>) -> Poll<Incoming> {
    loop {
        if let Poll::Ready(Err(_)) = socket.poll_write(cx) {
            return Poll::Ready(Incoming::Broken(Broken::Lost));
        }
        let flushed = socket.is_flushed();
        let incoming = socket.poll_read(cx);
        if incoming.is_ready() || !flushed || socket.is_flushed() {
            return incoming;
        }
    }
}

fn frame(text: String) -> Bytes {
    Message::bare_event("", text).encode(Dialect::CloudEvents)
}

/// Encodes a binary frame: its first byte alone differs from a text frame.
fn binary(payload: &[u8]) -> Bytes {
    let filler = "x".repeat(payload.len());
    let mut bytes = frame(filler).to_vec();
    let header = bytes.len() - payload.len();
    bytes[0] = BINARY;
    bytes[header..].copy_from_slice(payload);
    bytes.into()
}
