//! Helpers of these tests.

use bson::{Document, doc};
use serde_json::{Value, json};

use crate::support::{Service, Socket};

/// Creates a durable subscription to everything of type `tick`. Returns its id.
pub(crate) async fn durable(service: &Service) -> String {
    let made = service
        .post(
            "/subscriptions",
            json!({"filter": {"type": "tick"}, "durable": true}),
        )
        .await;
    made["id"].as_str().unwrap().to_owned()
}

/// Publishes one event for each number.
pub(crate) async fn publish(service: &Service, range: std::ops::Range<i64>) {
    let events: Vec<Value> = range
        .map(|n| json!({"type": "tick", "data": {"n": n}}))
        .collect();
    service.post("/events", json!(events)).await;
}

/// Waits for the next event. Returns its number and cursor.
pub(crate) async fn next(socket: &mut Socket) -> (i64, String) {
    let message = socket.message().await;
    assert_eq!(message["type"], "event", "{message}");
    let n = message["event"]["data"]["n"].as_i64().unwrap();
    (n, message["cursor"].as_str().unwrap().to_owned())
}

/// Reads this many events. Returns their numbers and the last one's cursor.
pub(crate) async fn read(socket: &mut Socket, count: usize) -> (Vec<i64>, String) {
    let mut numbers = Vec::new();
    let mut last = String::new();
    for _ in 0..count {
        let (n, cursor) = next(socket).await;
        numbers.push(n);
        last = cursor;
    }
    (numbers, last)
}

pub(crate) async fn ack(socket: &mut Socket, cursor: &str) {
    socket
        .say(&json!({"type": "ack", "cursor": cursor}).to_string())
        .await;
}

/// Waits until the service has read everything sent before: answers come in order.
pub(crate) async fn heard(socket: &mut Socket) {
    socket.say(r#"{"type":"ping"}"#).await;
    assert_eq!(socket.message().await["type"], "pong");
}

/// Reads the stored position's document.
pub(crate) async fn stored(service: &Service, id: &str) -> Option<Document> {
    let positions = service.database.collection::<Document>("positions");
    positions.find_one(doc! {"_id": id}).await.unwrap()
}

/// Reads the stored position.
pub(crate) async fn position(service: &Service, id: &str) -> String {
    let stored = stored(service, id).await.expect("a position");
    stored.get_str("position").unwrap().to_owned()
}

/// Waits until the stored position is `cursor`.
pub(crate) async fn until_stored(service: &Service, id: &str, cursor: &str) {
    service
        .until("the position is stored", async || {
            position(service, id).await == cursor
        })
        .await;
}
