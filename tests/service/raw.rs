//! A client below the level of HTTP and WebSocket libraries, which may break every rule.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::support::{
    DEADLINE,
    described::{self, From, Talk},
    with_credential,
};

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8A;

/// A TCP connection, and the bytes read ahead from it.
pub(crate) struct Raw {
    pub(crate) tcp: TcpStream,
    ahead: Vec<u8>,
}

/// A frame of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

/// An answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    text: String,
    pub(crate) body: Value,
}

impl Raw {
    pub(crate) async fn dial(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        let ahead = Vec::new();
        Self { tcp, ahead }
    }

    /// Connects a client whose kernel buffers little before the client reads.
    pub(crate) async fn dial_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        socket.set_send_buffer_size(4 * 1024).unwrap();
        let tcp = socket.connect(address).await.unwrap();
        let ahead = Vec::new();
        Self { tcp, ahead }
    }

    /// Opens a socket on a subscription and reads its `connected` message.
    pub(crate) async fn open(address: SocketAddr, id: &str) -> Self {
        Self::dial(address).await.connected(id).await
    }

    /// Opens a socket like [`Raw::open`], over a narrow connection.
    pub(crate) async fn open_narrow(address: SocketAddr, id: &str) -> Self {
        Self::dial_narrow(address).await.connected(id).await
    }

    async fn connected(mut self, id: &str) -> Self {
        self.send(upgrade_request(id, "").as_bytes()).await;
        let answer = self.answer().await;
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(self.message().await["type"], "connected");
        self
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let bytes = match self.tcp.peer_addr() {
            Ok(node) => with_credential(node, bytes),
            // It has gone.
            Err(_) => bytes.into(),
        };
        let sending = timeout(DEADLINE, self.tcp.write_all(&bytes));
        sending.await.expect("sent in time").unwrap();
    }

    /// Reads more. False when the server has gone, in order or not.
    async fn read_ahead(&mut self) -> bool {
        let reading = timeout(DEADLINE, self.tcp.read_buf(&mut self.ahead));
        let read = reading.await.expect("something in time, or the end");
        read.is_ok_and(|read| read > 0)
    }

    /// Reads until this many bytes are there, and takes them.
    async fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        while self.ahead.len() < len {
            if !self.read_ahead().await {
                return None;
            }
        }
        Some(self.ahead.drain(..len).collect())
    }

    /// Reads the answer to a request. A body must be JSON of a known length.
    pub(crate) async fn answer(&mut self) -> Answer {
        let end = loop {
            if let Some(end) = self.ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(self.read_ahead().await, "no answer, but the end");
        };
        let head = String::from_utf8(self.take(end).await.unwrap()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer {
            status,
            head,
            text: String::new(),
            body: Value::Null,
        };
        if let Some(len) = answer.header("content-length") {
            let body = self.take(len.parse().unwrap()).await.unwrap();
            answer.body = serde_json::from_slice(&body).unwrap_or_default();
            answer.text = String::from_utf8(body).unwrap();
        }
        answer
    }

    /// Requests server-sent events, which must be refused for a while. Returns the text of the stream.
    pub(crate) async fn refused_stream(&mut self, path: &str) -> String {
        let request = format!(
            "GET /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
        );
        self.send(request.as_bytes()).await;
        let answer = self.answer().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        assert_eq!(answer.header("retry-after"), None);
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(
            answer.text.starts_with("event: ended\nretry: "),
            "{answer:?}"
        );
        answer.text
    }

    /// Whether anything more comes before the end of the connection.
    pub(crate) async fn goes_on(&mut self) -> bool {
        !self.ahead.is_empty() || self.read_ahead().await
    }

    /// Waits for the next frame. `None` when the server has gone, in order or not.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        let head = self.take(2).await?;
        let (first, len) = (head[0], head[1]);
        assert_eq!(len & 0x80, 0, "a server's frames are not masked");
        let len = match len {
            126 => 2,
            127 => 8,
            len => return self.payload(first, len.into()).await,
        };
        let long = self.take(len).await?;
        let len = long
            .iter()
            .fold(0, |len, byte| len << 8 | usize::from(*byte));
        self.payload(first, len).await
    }

    async fn payload(&mut self, first: u8, len: usize) -> Option<Frame> {
        let payload = self.take(len).await?;
        Some(Frame { first, payload })
    }

    /// Waits for the next message. The server's pings are passed over, and not answered.
    pub(crate) async fn message(&mut self) -> Value {
        // Pings, and where a quiet client stands, come for ever, and must not extend the deadline.
        let message = async {
            loop {
                let frame = self.frame().await.expect("a frame, not the end");
                match frame.first {
                    PING => {}
                    TEXT if frame.payload.starts_with(br#"{"type":"at","#) => {}
                    TEXT => return frame.json(),
                    _ => panic!("no message, but {frame:?}"),
                }
            }
        };
        let message = timeout(DEADLINE, message);
        message.await.expect("more than pings in time")
    }

    /// Asserts that the rest is a close frame with this code and text, and, once that is answered, the end of the
    /// connection.
    pub(crate) async fn assert_closes(&mut self, code: u16, text: &str) {
        let frame = self.frame().await.expect("a close frame, not the end");
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(text.as_bytes());
        let first = CLOSE;
        assert_eq!(frame, Frame { first, payload }, "{code} {text}");
        // The server may have closed for good already.
        drop(self.tcp.write_all(&client_frame(CLOSE, b"")).await);
        assert_eq!(self.frame().await, None, "nothing comes behind the close");
    }

    /// Asserts that the rest is exactly one `ended` with this reason, and the close. Returns `ended`.
    pub(crate) async fn assert_ends(&mut self, code: u16, reason: &str) -> Value {
        let ended = self.message().await;
        assert_eq!(ended["type"], "ended", "{ended}");
        assert_eq!(ended["reason"], reason, "{ended}");
        assert_eq!(ended["code"], code, "{ended}");
        self.assert_closes(code, reason).await;
        ended
    }
}

impl Frame {
    /// Reads a message about one subscription, which has to be as described.
    pub(crate) fn json(&self) -> Value {
        let message = serde_json::from_slice(&self.payload).unwrap();
        described::check(Talk::One, From::Service, &message);
        message
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Makes a request to upgrade, with more header lines (each with its CRLF).
pub(crate) fn upgrade_request(id: &str, more: &str) -> String {
    format!(
        "GET /api/v1/subscriptions/{id}/events HTTP/1.1\r\nHost: localhost\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

/// Makes a masked frame with this first byte: flags and opcode.
pub(crate) fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
    const MASKED: u8 = 0x80;
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(MASKED + u8::try_from(len).unwrap()),
        len @ 126..=0xFFFF => {
            frame.push(MASKED + 126);
            frame.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            frame.push(MASKED + 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
    frame
}
