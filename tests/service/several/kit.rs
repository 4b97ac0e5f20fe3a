//! A socket for many subscriptions, as its tests drive it.

use serde_json::{Value, json};

use crate::support::{Service, Socket};

/// The subprotocol.
pub(super) const PROTOCOL: &str = "tidegate.many.v1";
const PATH: &str = "/api/v1/socket";

/// Opens a socket, and reads its `welcome`.
pub(super) async fn open(service: &Service) -> Socket {
    let (socket, _) = welcomed(service).await;
    socket
}

/// The same; also returns the `welcome`.
pub(super) async fn welcomed(service: &Service) -> (Socket, Value) {
    let mut socket = Socket::open(service.address, PATH, Some(PROTOCOL))
        .await
        .unwrap();
    assert_eq!(socket.subprotocol.as_deref(), Some(PROTOCOL));
    let welcome = socket.message().await;
    assert_eq!(welcome["type"], "welcome", "{welcome}");
    (socket, welcome)
}

/// Sends a message.
pub(super) async fn tell(socket: &mut Socket, message: Value) {
    socket.say(&message.to_string()).await;
}

/// Subscribes a handle, and reads its `connected`.
pub(super) async fn subscribe(socket: &mut Socket, handle: &str, id: &str) -> Value {
    let wish = json!({"type": "subscribe", "handle": handle, "subscription": id});
    tell(socket, wish).await;
    let connected = socket.message().await;
    assert_eq!(connected["type"], "connected", "{connected}");
    assert_eq!(connected["handle"], handle, "{connected}");
    connected
}

/// Reads messages up to one that fits, which is the last.
pub(super) async fn until(socket: &mut Socket, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut messages = Vec::new();
    loop {
        let message = socket.message().await;
        let last = fits(&message);
        messages.push(message);
        if last {
            return messages;
        }
    }
}

/// Returns the handles and the number of an event.
pub(super) fn event(message: &Value) -> (Vec<&str>, i64) {
    assert_eq!(message["type"], "event", "{message}");
    let to = message["to"].as_array().unwrap().iter();
    let number = message["event"]["data"]["n"].as_i64().unwrap();
    (to.map(|handle| handle.as_str().unwrap()).collect(), number)
}
