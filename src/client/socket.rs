//! One WebSocket on a subscription. It is opened by the same HTTP client as everything else: with the same certificates
//! and proxies, and a refusal is a problem document that can be read.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Method, Response, StatusCode, Upgraded, header};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tungstenite::{
    Message,
    handshake::{client::generate_key, derive_accept_key},
    protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
};

use super::{error::ClientError, http::Client};
use crate::protocol::Dialect;

/// Time for a socket to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// Silence after which a ping is sent, and as long again after which the connection counts as lost. Longer than the
/// service's own ping interval, so that it is rarely needed.
const SILENCE: Duration = Duration::from_secs(40);
/// Time for the close and its answer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The code of a close frame without a code (RFC 6455, section 7.1.5).
pub const NO_STATUS: u16 = 1005;
/// Frames are small, and a process may hold ten thousand sockets.
const READ_BUFFER_BYTES: usize = 4_096;

/// The point at which delivery begins.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Start {
    /// The service's choice: the acknowledged position of a durable subscription, else now.
    #[default]
    Unset,
    /// The events after this cursor.
    After(String),
    /// The events since this time (RFC 3339).
    Since(String),
}

/// News from a socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Received {
    /// A message.
    Text(String),
    /// A ping, already answered, or a pong.
    Alive,
    /// The service closed, with this code ([`NO_STATUS`] where it gave none) and text.
    Closed(u16, String),
    /// The connection broke, for this reason.
    Lost(String),
}

/// An open WebSocket. It does not reconnect.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<Upgraded>,
    /// True once a silent connection was pinged.
    probed: bool,
}

impl Socket {
    /// Connects to a subscription's events.
    pub async fn open(
        client: &Client,
        subscription: &str,
        start: &Start,
        dialect: Dialect,
    ) -> Result<Self, ClientError> {
        let path = ["subscriptions", subscription, "events"];
        Self::at(client, &path, start, dialect).await
    }

    /// Connects for many subscriptions. What is wanted is asked for with messages.
    pub async fn open_for_many(client: &Client) -> Result<Self, ClientError> {
        Self::at(client, &["socket"], &Start::Unset, Dialect::Many).await
    }

    async fn at(
        client: &Client,
        path: &[&str],
        start: &Start,
        dialect: Dialect,
    ) -> Result<Self, ClientError> {
        let opening = upgrade(client, path, start, dialect);
        match timeout(OPEN_TIMEOUT, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(client.unanswered()),
        }
    }

    /// Waits for what comes next. May be cancelled. After [`Received::Closed`] and [`Received::Lost`] nothing comes.
    pub async fn next(&mut self) -> Received {
        loop {
            let next = timeout(SILENCE, self.stream.next()).await;
            if next.is_ok() {
                self.probed = false;
            }
            return match next {
                Ok(Some(Ok(Message::Text(text)))) => Received::Text(text.to_string()),
                Ok(Some(Ok(Message::Close(frame)))) => closed(frame),
                Ok(Some(Ok(_))) => Received::Alive,
                Ok(Some(Err(error))) => Received::Lost(error.to_string()),
                Ok(None) => Received::Lost("the connection ended".to_owned()),
                Err(_) if self.probed => Received::Lost("no answer to a ping".to_owned()),
                Err(_) => {
                    self.probed = true;
                    match self.stream.send(Message::Ping(Vec::new().into())).await {
                        Ok(()) => continue,
                        Err(error) => Received::Lost(error.to_string()),
                    }
                }
            };
        }
    }

    /// Sends a message. The error says why the connection is lost.
    pub async fn send(&mut self, text: String) -> Result<(), String> {
        match timeout(SILENCE, self.stream.send(Message::text(text))).await {
            Ok(sent) => sent.map_err(|error| error.to_string()),
            Err(_) => Err("the service reads nothing".to_owned()),
        }
    }

    /// Closes in order, after a last message. Returns whether the service has answered: then it has read the message.
    pub async fn close(mut self, last: Option<String>) -> bool {
        let frame = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        let closing = async {
            if let Some(last) = last {
                self.stream.feed(Message::text(last)).await?;
            }
            self.stream.close(Some(frame)).await?;
            let mut answered = false;
            while let Some(Ok(message)) = self.stream.next().await {
                answered |= message.is_close();
            }
            Ok::<_, tungstenite::Error>(answered)
        };
        matches!(timeout(CLOSE_TIMEOUT, closing).await, Ok(Ok(true)))
    }
}

impl Start {
    fn query(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Unset => Vec::new(),
            Self::After(cursor) => vec![("after", cursor)],
            Self::Since(time) => vec![("since", time)],
        }
    }
}

async fn upgrade(
    client: &Client,
    path: &[&str],
    start: &Start,
    dialect: Dialect,
) -> Result<Socket, ClientError> {
    let key = generate_key();
    let request = client
        .request(Method::GET, path)
        .query(&start.query())
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, &key)
        .header(header::SEC_WEBSOCKET_PROTOCOL, dialect.name());
    let response = client.send(request).await?;
    if !is_accepted(&response, &key) {
        return Err(client.unreadable("it does not speak WebSocket here"));
    }
    let upgraded = response
        .upgrade()
        .await
        .map_err(|error| client.unreachable(&error))?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0);
    Ok(Socket {
        stream: WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await,
        probed: false,
    })
}

/// Whether the answer proves that the server speaks WebSocket: it knows how to hash the key (RFC 6455, section 4.1).
fn is_accepted(response: &Response, key: &str) -> bool {
    let accept = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
    response.status() == StatusCode::SWITCHING_PROTOCOLS
        && accept.is_some_and(|accept| accept == derive_accept_key(key.as_bytes()).as_str())
}

fn closed(frame: Option<CloseFrame>) -> Received {
    match frame {
        Some(frame) => Received::Closed(frame.code.into(), frame.reason.to_string()),
        None => Received::Closed(NO_STATUS, String::new()),
    }
}
