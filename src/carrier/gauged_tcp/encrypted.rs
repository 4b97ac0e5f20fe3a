//! HTTP over TLS: the same connection with the same gauge, whose bytes are encrypted on the way.

use std::{
    io::{self, ErrorKind, IoSlice},
    task::{Context, Poll, ready},
};

use tokio::{
    io::{Interest, ReadBuf},
    net::TcpStream,
};

use super::GaugedTcp;

/// Reads of encrypted bytes before other tasks get a turn.
const READS_A_TURN: usize = 16;

impl GaugedTcp {
    /// Encrypts bytes and sends them. What the kernel refuses of them goes with the next bytes, or with a flush.
    pub(super) fn poll_send_encrypted(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send_waiting(cx))?;
        let taken = match &mut self.tls {
            Some(tls) => tls.encrypt(bytes)?,
            None => 0,
        };
        match self.poll_send_waiting(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken)),
        }
    }

    /// Sends what is encrypted, until nothing is left or the kernel refuses.
    pub(super) fn poll_send_waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(tls) = self.tls.as_mut().filter(|tls| tls.has_waiting()) {
            let mut sent = tls.send(&self.tcp);
            if sent.as_ref().is_err_and(is_refusal) {
                if self.tcp.poll_write_ready(cx)?.is_pending() {
                    self.note_refused(cx)?;
                    return Poll::Pending;
                }
                // The readiness was stale. Asking through the runtime clears it.
                sent = self.tcp.try_io(Interest::WRITABLE, || tls.send(&self.tcp));
            }
            match sent {
                Ok(taken) => self.note_taken(taken),
                Err(error) if is_refusal(&error) || error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads encrypted bytes until something is decrypted.
    pub(super) fn poll_decrypt(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(tls) = &mut self.tls else {
            return Poll::Ready(Ok(()));
        };
        for _ in 0..READS_A_TURN {
            let mut wire = OneRead(Some(&self.tcp));
            match tls.read(&mut wire, buffer.initialize_unfilled()) {
                Ok(read) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                // What was read was no data.
                Err(error) if is_refusal(&error) && wire.0.is_none() => {}
                Err(error) if is_refusal(&error) => ready!(self.tcp.poll_read_ready(cx))?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    // Tells the client why, if the kernel takes it now.
                    if let Err(error) = tls.send(&self.tcp) {
                        tracing::trace!(%error, "an alert cannot be sent");
                    }
                    return Poll::Ready(Err(error));
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The socket for one read of encrypted bytes. A second one would block: what was read is looked at first, so that a client
/// that sends and sends cannot keep the task here.
struct OneRead<'a>(Option<&'a TcpStream>);

impl io::Read for OneRead<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let tcp = self.0.ok_or(ErrorKind::WouldBlock)?;
        let read = tcp.try_read(buffer)?;
        self.0 = None;
        Ok(read)
    }
}

fn is_refusal(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}
