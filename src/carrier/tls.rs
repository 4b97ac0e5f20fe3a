//! TLS on one TCP connection, once the handshake is done. Whoever owns the connection drives it: nothing is read or sent
//! except when the owner asks, and the kernel's word reaches the owner as it does without TLS.

use std::io::{self, ErrorKind, IoSlice, Read, Write};

use rustls::ServerConnection;
use socket2::SockRef;
use tokio::net::TcpStream;

/// The most bytes that are encrypted ahead of the kernel. A client that takes nothing costs no more than that besides what
/// is counted as waiting for it.
const AHEAD_BYTES: usize = 16 * 1024;

/// The TLS of one connection.
#[derive(Debug)]
pub(crate) struct Tls(Box<ServerConnection>);

impl Tls {
    /// Takes over a connection after its handshake.
    pub(crate) fn new(mut session: ServerConnection) -> Self {
        session.set_buffer_limit(Some(AHEAD_BYTES));
        Self(Box::new(session))
    }

    /// Reads what was decrypted, and decrypts more of what `wire` gives. The end is the same with or without a farewell:
    /// every message says where it ends.
    pub(crate) fn read(&mut self, wire: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            self.0.read_tls(wire)?;
            if let Err(error) = self.0.process_new_packets() {
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
        }
    }

    /// Encrypts the first bytes; returns their number. To be called when nothing waits to be sent.
    pub(crate) fn encrypt(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.writer().write_vectored(parts)
    }

    /// Whether encrypted bytes wait to be sent.
    pub(crate) fn has_waiting(&self) -> bool {
        self.0.wants_write()
    }

    /// Sends encrypted bytes; returns the number that the kernel has taken. Asks the kernel, whatever the runtime remembers
    /// of the socket's readiness.
    pub(crate) fn send(&mut self, tcp: &TcpStream) -> io::Result<usize> {
        match self.0.write_tls(&mut Kernel(tcp)) {
            Ok(0) if self.has_waiting() => Err(ErrorKind::WriteZero.into()),
            sent => sent,
        }
    }

    /// Encrypts the farewell, behind everything else, once.
    pub(crate) fn end(&mut self) {
        self.0.send_close_notify();
    }
}

/// The sending side of a socket.
struct Kernel<'a>(&'a TcpStream);

impl Write for Kernel<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        SockRef::from(self.0).send(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        SockRef::from(self.0).send_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
