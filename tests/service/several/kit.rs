//! A socket for many subscriptions, as its tests drive it.

use serde_json::{Value, json};
use tidegate::position::{Cursor, Position};

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

/// Sends a message that is not as described, or need not be.
pub(super) async fn tell_anything(socket: &mut Socket, message: Value) {
    socket.say_anything(&message.to_string()).await;
}

/// Sends a message, which has to be as described.
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

/// Returns the problem with which a message about the handle `h` is refused, which need not be as described. The rest of
/// the refusal is as it has to be.
pub(super) async fn refused(socket: &mut Socket, message: Value) -> Value {
    tell_anything(socket, message.clone()).await;
    let mut refused = socket.message().await;
    let problem = refused["problem"].take();
    let expected = json!({"type": "refused", "handle": "h", "problem": null});
    assert_eq!(refused, expected, "{message}: {problem}");
    problem
}

/// Returns a problem document: its status, name and title, its words, and the pointers and the words of its faults.
pub(super) fn exact(
    (status, name, title): (u16, &str, &str),
    detail: &str,
    faults: &[(&str, &str)],
) -> Value {
    let mut problem = json!({
        "type": format!("/problems/{name}"), "title": title, "status": status, "detail": detail,
    });
    if !faults.is_empty() {
        let errors = faults.iter();
        let errors = errors.map(|(pointer, words)| json!({"pointer": pointer, "detail": words}));
        problem["errors"] = errors.collect();
    }
    problem
}

/// Returns a cursor of this deployment that lies so many seconds ahead of another one.
pub(super) fn ahead_of(cursor: &Value, seconds: u32) -> String {
    let cursor = Cursor::parse(cursor.as_str().unwrap()).unwrap();
    let mut time = cursor.position.cluster_time();
    time.time += seconds;
    Position::at(time).cursor(cursor.deployment)
}
