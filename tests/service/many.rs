//! Very many clients that return at once, to a node without a backlog.

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::support::{Service, Socket};

/// Both ends of each are in this process, which may have 20,000 descriptors. The benchmark has ten thousand clients.
const CLIENTS: usize = 2_000;
const EVENTS: usize = 20;
/// The most change streams that all of them together may cost.
const STREAMS: i64 = 5;
/// Clients that connect at once.
const AT_ONCE: usize = 200;

/// Connects with the cursor of an event, and reads everything up to the last one.
async fn come_back(service: &Service, id: &str, cursors: &[String], seen: usize) -> Socket {
    let mut socket = service.open(id, &format!("?after={}", cursors[seen])).await;
    let connected = socket.message().await;
    assert_eq!(connected["recovered"], true, "{connected}");
    for (n, cursor) in cursors.iter().enumerate().skip(seen + 1) {
        let message = socket.message().await;
        assert_eq!(message["event"]["data"]["n"], n, "{message}");
        assert_eq!(message["cursor"], cursor.as_str());
    }
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_cursors_after_a_restart_cost_a_handful_of_streams() {
    let service = Service::start().await;
    let id = service.subscribe(json!({"type": "tick"})).await;
    let mut socket = service.connect(&id).await;
    let events: Vec<Value> = (0..EVENTS)
        .map(|n| json!({"type": "tick", "data": {"n": n}}))
        .collect();
    service.post("/events", json!(events)).await;
    let mut cursors = Vec::new();
    for _ in 0..EVENTS {
        let message = socket.message().await;
        cursors.push(message["cursor"].as_str().unwrap().to_owned());
    }
    drop(socket);
    let config = service.config.clone();
    service.stop().await;

    let service = Service::on(config).await;
    let mut sockets: Vec<Socket> = stream::iter(0..CLIENTS)
        .map(|client| come_back(&service, &id, &cursors, client % EVENTS))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let streams = service.count("tidegate_replay_streams_total").await;
    assert!((1..=STREAMS).contains(&streams), "{streams} streams");

    // Every one of them is live.
    service.publish("tick", json!({"n": EVENTS})).await;
    for socket in &mut sockets {
        assert_eq!(socket.event().await["n"], EVENTS);
    }
    service.assert_books_balance().await;
}
