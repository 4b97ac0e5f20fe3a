//! One WebSocket to the service, opened through the same HTTP client as everything else: the same
//! certificates and proxies, and a refusal's problem document can be read.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Method, Response, StatusCode, Upgraded, header};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tungstenite::{
    Message,
    handshake::{client::generate_key, derive_accept_key},
    protocol::{CloseFrame, Role, frame::coding::CloseCode},
};

use crate::{
    cli::client::{Client, ClientError},
    protocol::Dialect,
};

/// How long opening may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// After this long without a sign of life a ping is sent, and awaited as long again. Longer than
/// the service's own ping interval, so that it is rarely needed.
const SILENCE: Duration = Duration::from_secs(40);
/// How long a farewell may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// No status was received (RFC 6455, section 7.1.5).
const NO_STATUS: u16 = 1005;

/// What came.
pub(super) enum Received {
    /// A message.
    Text(String),
    /// The service closed, with its code and text.
    Closed(u16, String),
    /// The connection broke.
    Lost(String),
}

/// An open connection.
pub(super) struct Socket(WebSocketStream<Upgraded>);

impl Socket {
    /// Connects to a subscription's events.
    pub(super) async fn open(
        client: &Client,
        id: &str,
        query: &[(&'static str, String)],
    ) -> Result<Self, ClientError> {
        match timeout(OPEN_TIMEOUT, upgrade(client, id, query)).await {
            Ok(opened) => opened,
            Err(_) => Err(client.silent()),
        }
    }

    /// The next message. A ping is answered by the library below; a silent connection is probed.
    pub(super) async fn next(&mut self) -> Received {
        let mut probed = false;
        loop {
            match timeout(SILENCE, self.0.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => return Received::Text(text.to_string()),
                Ok(Some(Ok(Message::Close(frame)))) => return closed(frame),
                Ok(Some(Ok(_))) => probed = false,
                Ok(Some(Err(error))) => return Received::Lost(error.to_string()),
                Ok(None) => return Received::Lost("the connection ended".to_owned()),
                Err(_) if probed => return Received::Lost("no sign of life".to_owned()),
                Err(_) => {
                    probed = true;
                    if let Err(error) = self.0.send(Message::Ping(Vec::new().into())).await {
                        return Received::Lost(error.to_string());
                    }
                }
            }
        }
    }

    /// Sends a message; the error says why the connection is lost.
    pub(super) async fn say(&mut self, text: String) -> Result<(), String> {
        match timeout(SILENCE, self.0.send(Message::text(text))).await {
            Ok(sent) => sent.map_err(|error| error.to_string()),
            Err(_) => Err("nothing is taken".to_owned()),
        }
    }

    /// Says goodbye, after a last message. Whether the service has answered: then it has read that.
    pub(super) async fn close(mut self, last: Option<String>) -> bool {
        let frame = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        let farewell = async {
            if let Some(last) = last {
                self.0.feed(Message::text(last)).await?;
            }
            self.0.close(Some(frame)).await?;
            let mut answered = false;
            while let Some(Ok(message)) = self.0.next().await {
                answered |= message.is_close();
            }
            Ok::<_, tungstenite::Error>(answered)
        };
        matches!(timeout(CLOSE_TIMEOUT, farewell).await, Ok(Ok(true)))
    }
}

async fn upgrade(
    client: &Client,
    id: &str,
    query: &[(&'static str, String)],
) -> Result<Socket, ClientError> {
    let key = generate_key();
    let request = client
        .request(Method::GET, &["subscriptions", id, "events"])
        .query(query)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, &key)
        .header(header::SEC_WEBSOCKET_PROTOCOL, Dialect::Tidegate.name());
    let response = client.send(request).await?;
    if !is_accepted(&response, &key) {
        return Err(client.unreadable("it does not speak WebSocket here"));
    }
    let upgraded = response
        .upgrade()
        .await
        .map_err(|error| client.unreachable(&error))?;
    Ok(Socket(
        WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await,
    ))
}

/// RFC 6455, section 4.1: whoever knows how to hash the key means WebSocket.
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
