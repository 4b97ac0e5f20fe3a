//! A client that reads everything in the background.

use serde_json::Value;
use tidegate::position::{Cursor, Position};
use tokio::task::JoinHandle;

use crate::support::{Service, Socket};

/// A message: its type, and the position of its cursor.
pub(crate) type Told = (String, Position);

/// A connection that is being read.
pub(crate) struct Listener {
    /// Its first message.
    pub(crate) connected: Value,
    task: JoinHandle<Vec<Value>>,
}

impl Listener {
    /// Connects, and reads until the close.
    pub(crate) async fn connect(service: &Service, subscription: &str) -> Self {
        let mut socket = service.open(subscription, "").await;
        let connected = socket.message().await;
        assert_eq!(connected["type"], "connected", "{connected}");
        let task = tokio::spawn(async move { socket.rest().await.0 });
        Self { connected, task }
    }

    /// Returns the position at which delivery starts.
    pub(crate) fn from(&self) -> Position {
        position(&self.connected)
    }

    /// Returns everything after `connected` and up to the close.
    pub(crate) async fn messages(self) -> Vec<Value> {
        self.task.await.unwrap()
    }

    /// Returns the same as types and positions.
    pub(crate) async fn told(self) -> Vec<Told> {
        told(&self.messages().await)
    }
}

/// Reduces messages to types and positions. Their cursors must not fall, neither as text nor as positions.
pub(crate) fn told(messages: &[Value]) -> Vec<Told> {
    assert_cursors_do_not_fall(messages);
    let one = |message: &Value| {
        (
            message["type"].as_str().unwrap().to_owned(),
            position(message),
        )
    };
    messages.iter().map(one).collect()
}

/// Reads the position of a message's cursor.
pub(crate) fn position(message: &Value) -> Position {
    Cursor::parse(cursor(message)).unwrap().position
}

/// Returns the text of a message's cursor.
pub(crate) fn cursor(message: &Value) -> &str {
    message["cursor"].as_str().expect("a cursor")
}

fn assert_cursors_do_not_fall(messages: &[Value]) {
    for pair in messages.windows(2) {
        let (before, after) = (cursor(&pair[0]), cursor(&pair[1]));
        // The end has a position of its own only if a delete made it.
        let rises = before < after || (pair[1]["type"] == "ended" && before == after);
        assert!(rises, "{} then {}", pair[0], pair[1]);
    }
}

/// Waits for the next message of a socket, which must be of this type.
pub(crate) async fn expect(socket: &mut Socket, kind: &str) -> Value {
    let message = socket.message().await;
    assert_eq!(message["type"], kind, "{message}");
    message
}
