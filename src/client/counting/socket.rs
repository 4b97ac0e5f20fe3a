//! A socket reduced to what counting needs: a handshake, large reads, rare answers.

use std::{cell::RefCell, io, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// The most that one read brings.
const READ_BYTES: usize = 256 << 10;
/// The longest answer to a handshake, with what follows it in the same packet.
const HANDSHAKE_BYTES: usize = 64 << 10;
/// Time for one socket to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

thread_local! {
    // A task holds it for one read and never across an await. One a thread is enough, so ten thousand sockets take no
    // more memory than the frames that they have begun.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// The end of a socket.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SocketEnd {
    /// The server's close code.
    Code(u16),
    /// It broke without a close frame, for this reason.
    Broken(String),
}

impl SocketEnd {
    /// Reads a close frame's payload.
    pub(super) fn of(payload: &[u8]) -> Self {
        match payload {
            [a, b, ..] => Self::Code(u16::from_be_bytes([*a, *b])),
            _ => Self::Broken("closed without a code".to_owned()),
        }
    }

    fn broken(error: &io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Opens a WebSocket at `host` (with its port) and `path`, and presents a key or token, if there is one. Returns the
/// stream, and the bytes that came behind the answer. They are to be read first.
pub async fn open(
    host: &str,
    path: &str,
    token: Option<&SecretString>,
) -> Result<(TcpStream, Vec<u8>), String> {
    let opened = timeout(OPEN_TIMEOUT, handshake(host, path, token)).await;
    opened.unwrap_or_else(|_| Err("not open in time".to_owned()))
}

async fn handshake(
    host: &str,
    path: &str,
    token: Option<&SecretString>,
) -> Result<(TcpStream, Vec<u8>), String> {
    let text = |error: io::Error| error.to_string();
    let mut stream = TcpStream::connect(host).await.map_err(text)?;
    stream.set_nodelay(true).map_err(text)?;
    let credential = token.map_or_else(String::new, |token| {
        format!("Authorization: Bearer {}\r\n", token.expose_secret())
    });
    // The key keeps caches from answering. There is no cache here.
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{credential}\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(text)?;
    let mut answer = Vec::new();
    loop {
        let read = stream.read_buf(&mut answer).await.map_err(text)?;
        if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = answer.split_off(end + 4);
            if answer.starts_with(b"HTTP/1.1 101") {
                return Ok((stream, rest));
            }
            return Err(first_line(&answer));
        }
        if read == 0 || answer.len() > HANDSHAKE_BYTES {
            return Err("no answer to the handshake".to_owned());
        }
    }
}

fn first_line(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    text.lines().next().unwrap_or_default().to_owned()
}

/// Writes a message as a client must send it: masked, here with zeros.
pub fn write_text(message: &str, frames: &mut Vec<u8>) {
    let length = message.len();
    frames.push(0x81);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..126), _) => frames.push(0x80 | length),
        (_, Ok(length)) => {
            frames.push(0x80 | 0x7E);
            frames.extend(length.to_be_bytes());
        }
        _ => {
            frames.push(0x80 | 0x7F);
            frames.extend((length as u64).to_be_bytes());
        }
    }
    frames.extend([0; 4]);
    frames.extend(message.as_bytes());
}

/// Reads a stream to its end. `take` gets the bytes of each read, and puts into its second argument what to answer.
pub async fn pump(
    mut stream: TcpStream,
    mut take: impl FnMut(&[u8], &mut Vec<u8>) -> Result<(), SocketEnd>,
) -> SocketEnd {
    let mut answer = Vec::new();
    loop {
        if let Err(error) = stream.readable().await {
            return SocketEnd::broken(&error);
        }
        let taken = BUFFER.with_borrow_mut(|buffer| match stream.try_read(buffer) {
            Ok(0) => Err(SocketEnd::Broken("cut off".to_owned())),
            Ok(read) => take(&buffer[..read], &mut answer),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(SocketEnd::broken(&error)),
        });
        if let Err(end) = taken {
            return end;
        }
        if !answer.is_empty() {
            if let Err(error) = stream.write_all(&answer).await {
                return SocketEnd::broken(&error);
            }
            answer.clear();
        }
    }
}
