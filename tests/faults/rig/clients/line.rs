//! A connection of any dialect, as a series of messages.

use std::net::SocketAddr;

use reqwest::Url;
use secrecy::SecretString;
use serde_json::{Value, json};
use tidegate::{
    client::{Client, ClientError, NO_STATUS, Received, Socket, Start},
    position::{Cursor, Position},
    protocol::Dialect,
};

use crate::{
    rig::{
        node::{http_client, install_tls},
        record::{Heard, Over, read_cloudevent, read_message},
    },
    support::{
        Events,
        described::{self, From, Talk},
    },
};

/// An open connection.
pub(super) enum Line {
    Socket {
        socket: Box<Socket>,
        dialect: Dialect,
    },
    Events {
        events: Box<Events>,
        /// The message that was read to see that this is no refusal.
        first: Option<Value>,
        code: Option<u16>,
    },
}

/// An item of a connection.
pub(super) enum Item {
    Message(Value),
    /// A sign of life.
    Alive,
    Over(Over),
}

/// The reason why there is no connection.
pub(super) enum NotOpened {
    /// The subscription does not exist.
    Gone,
    /// The key does not stand.
    InvalidKey,
    /// It may be tried again.
    Later,
}

impl NotOpened {
    fn of(status: u16) -> Self {
        match status {
            404 => Self::Gone,
            401 => Self::InvalidKey,
            _ => Self::Later,
        }
    }
}

impl Line {
    pub(super) async fn open(
        front: SocketAddr,
        subscription: &str,
        (dialect, after): (Dialect, Option<&str>),
        key: Option<&str>,
    ) -> Result<Self, NotOpened> {
        if dialect == Dialect::Sse {
            let query = after.map_or(String::new(), |after| format!("?after={after}"));
            let path = format!("/api/v1/subscriptions/{subscription}/events{query}");
            return Self::open_events(&format!("http://{front}{path}"), key).await;
        }
        match Self::open_socket(front, subscription, (dialect, after), key).await {
            Ok(socket) => Ok(Self::Socket {
                socket: Box::new(socket),
                dialect,
            }),
            Err(ClientError::Refused(problem)) => Err(NotOpened::of(problem.status)),
            Err(_) => Err(NotOpened::Later),
        }
    }

    /// Makes one attempt on a connection of its own, as a client of the service does.
    async fn open_socket(
        front: SocketAddr,
        subscription: &str,
        (dialect, after): (Dialect, Option<&str>),
        key: Option<&str>,
    ) -> Result<Socket, ClientError> {
        install_tls();
        let address = Url::parse(&format!("http://{front}")).expect("an address");
        let start = after.map_or(Start::Unset, |after| Start::After(after.to_owned()));
        let client = Client::new(address)?.with_token(key.map(SecretString::from));
        Socket::open(&client, subscription, &start, dialect).await
    }

    async fn open_events(url: &str, key: Option<&str>) -> Result<Self, NotOpened> {
        let http = http_client().map_err(|_| NotOpened::Later)?;
        // The answer has no end. The client's own patience bounds it.
        let mut request = http.get(url).header("accept", "text/event-stream");
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        let request = request.timeout(std::time::Duration::from_hours(24));
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Self::begun(Events::of(answer)).await,
            Ok(answer) => Err(NotOpened::of(answer.status().as_u16())),
            Err(_) => Err(NotOpened::Later),
        }
    }

    /// Reads the first message of a stream. A stream that begins with its end is a refusal.
    async fn begun(mut events: Events) -> Result<Self, NotOpened> {
        loop {
            match events.read_block().await {
                Ok(Some(event)) if event.data.is_null() => {}
                Ok(Some(event)) if event.name != "ended" => {
                    return Ok(Self::Events {
                        events: Box::new(events),
                        first: Some(event.data),
                        code: None,
                    });
                }
                Ok(_) | Err(_) => return Err(NotOpened::Later),
            }
        }
    }

    /// Waits for the next item. May be cancelled.
    pub(super) async fn next(&mut self) -> Item {
        match self {
            Self::Socket { socket, .. } => match socket.next().await {
                Received::Text(text) => {
                    Item::Message(serde_json::from_str(&text).unwrap_or_else(|_| json!(text)))
                }
                Received::Closed(code, _) => {
                    Item::Over(Over::Closed((code != NO_STATUS).then_some(code)))
                }
                Received::Alive => Item::Alive,
                Received::Lost(reason) => Item::Over(Over::Lost(reason)),
            },
            Self::Events {
                first: first @ Some(_),
                ..
            } => Item::Message(first.take().unwrap_or_default()),
            Self::Events { events, code, .. } => match events.read_block().await {
                Ok(Some(event)) if event.data.is_null() => Item::Alive,
                Ok(Some(event)) => {
                    let ending = &event.data["code"];
                    *code = ending.as_u64().and_then(|code| code.try_into().ok());
                    Item::Message(event.data)
                }
                Ok(None) => Item::Over(Over::Closed(*code)),
                Err(error) => Item::Over(Over::Lost(error.to_string())),
            },
        }
    }

    /// Reads a message.
    pub(super) fn read(&self, message: &Value) -> Option<Heard> {
        match self {
            Self::Socket {
                dialect: Dialect::CloudEvents,
                ..
            } => Some(read_cloudevent(message)),
            Self::Socket { .. } => match described::fault(Talk::One, From::Service, message) {
                None => read_message(message),
                Some(fault) => Some(Heard::Odd(fault)),
            },
            // It was held to the description as it was read.
            Self::Events { .. } => read_message(message),
        }
    }

    /// Acknowledges a message.
    pub(super) async fn acknowledge(&mut self, message: &Value) {
        if let Self::Socket { socket, .. } = self {
            let ack = json!({"type": "ack", "cursor": message["cursor"]});
            // If the connection is broken, reading will say so.
            drop(socket.send(ack.to_string()).await);
        }
    }

    /// Closes in order, where the dialect can.
    pub(super) async fn leave(self) {
        if let Self::Socket { socket, .. } = self {
            // Without an answer in time it leaves all the same.
            let _answered = socket.close(None).await;
        }
    }
}

/// Returns the cursor of a message.
pub(super) fn cursor(message: &Value) -> Option<String> {
    let cursor = message["cursor"]
        .as_str()
        .or(message["tidegatecursor"].as_str());
    cursor.map(str::to_owned)
}

/// Reads the position of a cursor.
pub(super) fn position(cursor: &str) -> Option<Position> {
    Some(Cursor::parse(cursor).ok()?.position)
}
