//! A client's socket, reduced to what counting needs: a handshake, large reads, rare answers.

use std::{cell::RefCell, io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Bytes that one read may bring.
const READ: usize = 256 << 10;
/// Bytes of the answer to a handshake, and of what may follow it in the same packet.
const HANDSHAKE: usize = 64 << 10;
/// How long opening one socket may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

thread_local! {
    // A task holds it for one read and never across an await, so one a thread is enough: the memory
    // of ten thousand sockets is that of their frames begun.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// Why a socket is closed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum End {
    /// The server's close code.
    Code(u16),
    /// It ended without a close frame.
    Broken(String),
}

impl End {
    /// Reads a close frame's payload.
    pub(crate) fn of(payload: &[u8]) -> Self {
        match payload {
            [a, b, ..] => Self::Code(u16::from_be_bytes([*a, *b])),
            _ => Self::Broken("closed without a code".to_owned()),
        }
    }

    fn broken(error: &io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Opens a WebSocket at `host` (with its port) and `path`. Returns the stream, and what came behind
/// the answer, which is to be taken first.
pub(crate) async fn open(host: &str, path: &str) -> Result<(TcpStream, Vec<u8>), String> {
    let opened = timeout(OPEN_TIMEOUT, handshake(host, path)).await;
    opened.unwrap_or_else(|_| Err("not open in time".to_owned()))
}

async fn handshake(host: &str, path: &str) -> Result<(TcpStream, Vec<u8>), String> {
    let say = |error: io::Error| error.to_string();
    let mut stream = TcpStream::connect(host).await.map_err(say)?;
    stream.set_nodelay(true).map_err(say)?;
    // The key is to make answers from a cache impossible; there is none between.
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(say)?;
    let mut answer = Vec::new();
    loop {
        let read = stream.read_buf(&mut answer).await.map_err(say)?;
        if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = answer.split_off(end + 4);
            if answer.starts_with(b"HTTP/1.1 101") {
                return Ok((stream, rest));
            }
            return Err(first_line(&answer));
        }
        if read == 0 || answer.len() > HANDSHAKE {
            return Err("no answer to the handshake".to_owned());
        }
    }
}

fn first_line(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    text.lines().next().unwrap_or_default().to_owned()
}

/// Reads to the end, whatever ends it. `take` gets the bytes of each read and says what to answer.
pub(crate) async fn pump(
    mut stream: TcpStream,
    mut take: impl FnMut(&[u8], &mut Vec<u8>) -> Result<(), End>,
) -> End {
    let mut answer = Vec::new();
    loop {
        if let Err(error) = stream.readable().await {
            return End::broken(&error);
        }
        let taken = BUFFER.with_borrow_mut(|buffer| match stream.try_read(buffer) {
            Ok(0) => Err(End::Broken("cut off".to_owned())),
            Ok(read) => take(&buffer[..read], &mut answer),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(End::broken(&error)),
        });
        if let Err(end) = taken {
            return end;
        }
        if !answer.is_empty() {
            if let Err(error) = stream.write_all(&answer).await {
                return End::broken(&error);
            }
            answer.clear();
        }
    }
}
