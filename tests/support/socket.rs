//! A WebSocket that a test drives frame by frame.
//!
//! Bare on purpose: it shows every frame, sends whatever a test wants, never reconnects and fails on anything that was
//! not expected, so that no fault of the service hides behind a client's patience. `tidegate::client` is for clients
//! that are only there.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize as _;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, client_async};
use tungstenite::{
    Error, Message,
    client::IntoClientRequest as _,
    http::{
        HeaderValue,
        header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL},
    },
};

use super::{
    DEADLINE, credentials,
    described::{self, From, Talk},
};

/// An open socket.
pub(crate) struct Socket<S = TcpStream> {
    pub(crate) stream: WebSocketStream<S>,
    /// The subprotocol that the server chose.
    pub(crate) subprotocol: Option<String>,
    /// The description that its messages are held to; bare events have none.
    talk: Option<Talk>,
}

/// The end of a socket, as the client saw it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) code: u16,
    pub(crate) text: String,
}

impl Socket {
    /// Connects to a path of a server. The error has the answer, if there was one.
    pub(crate) async fn open(
        address: SocketAddr,
        path: &str,
        subprotocol: Option<&str>,
    ) -> Result<Self, Error> {
        let tcp = TcpStream::connect(address).await?;
        Self::over(tcp, address, path, subprotocol).await
    }

    /// Connects over a connection whose kernel buffers little before the test reads.
    pub(crate) async fn open_narrow(address: SocketAddr, path: &str) -> Result<Self, Error> {
        Self::open_narrow_as(address, path, None).await
    }

    /// The same, with an offer of subprotocols.
    pub(crate) async fn open_narrow_as(
        address: SocketAddr,
        path: &str,
        subprotocol: Option<&str>,
    ) -> Result<Self, Error> {
        let tcp = TcpSocket::new_v4()?;
        tcp.set_recv_buffer_size(4 * 1024)?;
        let tcp = tcp.connect(address).await?;
        Self::over(tcp, address, path, subprotocol).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Connects over a stream of bytes that is open already, and may be encrypted.
    pub(crate) async fn over(
        tcp: S,
        address: SocketAddr,
        path: &str,
        subprotocol: Option<&str>,
    ) -> Result<Self, Error> {
        let mut request = format!("ws://{address}{path}").into_client_request()?;
        if let Some(name) = subprotocol {
            let value = HeaderValue::from_str(name).unwrap();
            request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, value);
        }
        let has_one = subprotocol.is_some_and(|offer| offer.contains("tidegate.bearer."))
            || path.contains("ticket=");
        if let Some(key) = credentials::key_for(address).filter(|_| !has_one) {
            let value = HeaderValue::from_str(&format!("Bearer {key}")).unwrap();
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let (stream, answer) = client_async(request, tcp).await?;
        described::learn_at(address).await;
        let chosen = answer.headers().get(SEC_WEBSOCKET_PROTOCOL);
        let subprotocol = chosen.map(|value| value.to_str().unwrap().to_owned());
        let is_for_many = path.starts_with("/api/v1/socket");
        let talk = match subprotocol.as_deref() {
            Some("cloudevents.json") => None,
            _ => Some(if is_for_many { Talk::Many } else { Talk::One }),
        };
        Ok(Self {
            stream,
            subprotocol,
            talk,
        })
    }

    /// Waits for the next frame. `None` when the server has gone. A message has to be as described.
    pub(crate) async fn frame(&mut self) -> Option<Result<Message, Error>> {
        let frame = timeout(DEADLINE, self.stream.next());
        let frame = frame.await.expect("a frame in time");
        if let (Some(Ok(Message::Text(text))), Some(talk)) = (&frame, self.talk) {
            let message = read_deep(text);
            described::check(talk, From::Service, &message);
        }
        frame
    }

    /// Waits for the next frame that is no sign of life: no ping, and no `at`. Those come for ever, and must not
    /// extend the deadline.
    async fn said(&mut self) -> Option<Result<Message, Error>> {
        let said = async {
            loop {
                match self.frame().await {
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Text(text))) if text.starts_with(r#"{"type":"at","#) => {}
                    other => return other,
                }
            }
        };
        timeout(DEADLINE, said)
            .await
            .expect("more than pings in time")
    }

    /// Waits for the next JSON message, and fails on anything else but pings.
    pub(crate) async fn message(&mut self) -> Value {
        match self.said().await {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
            other => panic!("expected a message, got {other:?}"),
        }
    }

    /// Waits for the next message, which must be an event. Returns its `data`.
    pub(crate) async fn event(&mut self) -> Value {
        let message = self.message().await;
        assert_eq!(message["type"], "event", "{message}");
        message["event"]["data"].clone()
    }

    /// Sends a message, which has to be as described.
    pub(crate) async fn say(&mut self, text: &str) {
        if let Some(talk) = self.talk {
            let message = serde_json::from_str(text).expect("JSON");
            described::check(talk, From::Client, &message);
        }
        self.say_anything(text).await;
    }

    /// Sends a text that need not be a message.
    pub(crate) async fn say_anything(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    /// Reads up to the close. Returns the JSON messages and the close.
    pub(crate) async fn rest(&mut self) -> (Vec<Value>, Closed) {
        let mut messages = Vec::new();
        loop {
            match self.said().await {
                Some(Ok(Message::Text(text))) => {
                    messages.push(serde_json::from_str(&text).unwrap());
                }
                Some(Ok(Message::Close(frame))) => {
                    let frame = frame.expect("a close with a code");
                    let closed = Closed {
                        code: frame.code.into(),
                        text: frame.reason.to_string(),
                    };
                    // Nothing may follow the close.
                    if let Some(Ok(more)) = self.frame().await {
                        panic!("a frame after the close: {more:?}");
                    }
                    return (messages, closed);
                }
                other => panic!("no close, but {other:?} after {messages:?}"),
            }
        }
    }

    /// Asserts that the rest is exactly one `ended` with this reason, and the close. Returns `ended`.
    pub(crate) async fn assert_ends(&mut self, code: u16, reason: &str) -> Value {
        let (mut messages, closed) = self.rest().await;
        assert_eq!(messages.len(), 1, "{messages:?}");
        let ended = messages.remove(0);
        assert_eq!(ended["type"], "ended", "{ended}");
        assert_eq!(ended["reason"], reason, "{ended}");
        assert_eq!(ended["code"], code, "{ended}");
        assert_eq!(
            closed,
            Closed {
                code,
                text: reason.to_owned()
            }
        );
        ended
    }

    /// Closes in order.
    pub(crate) async fn leave(mut self) {
        self.stream.close(None).await.unwrap();
        while let Some(Ok(_)) = self.frame().await {}
    }
}

/// Reads JSON of any depth.
pub(crate) fn read_deep(text: &str) -> Value {
    let mut reading = serde_json::Deserializer::from_str(text);
    reading.disable_recursion_limit();
    Value::deserialize(&mut reading).expect("JSON")
}
