//! The writing side of a WebSocket: everything that waits goes out in one vectored write.

use std::{
    io::{self, ErrorKind, IoSlice},
    task::{Context, Poll, ready},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::Interest;

use super::WebSocket;

/// The most parts in one vectored write (Linux takes 1,024).
const WRITE_PARTS: usize = 64;

impl WebSocket {
    /// Queues what the codec wants to send before everything else, but never inside a frame.
    pub(super) fn take_control(&mut self) {
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
            if self.outbound.is_empty() {
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

    fn try_write(&self) -> io::Result<usize> {
        let socket = SockRef::from(&self.tcp);
        if let Some(only) = self.outbound.only() {
            // The most frequent case: nothing to lay out, and less for the kernel to look at.
            return socket.send(only);
        }
        let mut parts = [IoSlice::new(&[]); WRITE_PARTS];
        let count = self.outbound.lay_out(&mut parts);
        socket.send_vectored(&parts[..count])
    }

    fn try_write_registered(&self) -> io::Result<usize> {
        self.tcp.try_io(Interest::WRITABLE, || self.try_write())
    }
}

/// Encodes a close frame (RFC 6455, section 5.5.1). A text that does not fit is left out.
pub(super) fn close_frame(code: u16, text: &str) -> Bytes {
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

    #[test]
    fn a_close_frame_has_its_code_and_a_text_that_fits() {
        assert_eq!(close_frame(4000, "slow")[..], *b"\x88\x06\x0F\xA0slow");
        assert_eq!(
            close_frame(1001, &"x".repeat(124))[..],
            *b"\x88\x02\x03\xE9"
        );
    }
}
