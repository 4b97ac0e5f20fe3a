//! Acknowledgements: of one handle, or of all durable ones that are live.

use serde_json::json;

use super::kit::{event, open, subscribe, tell, until};
use crate::support::Service;

async fn durable(service: &Service, kind: &str) -> String {
    let (status, made) = service
        .send(
            "POST",
            "/subscriptions",
            Some(json!({"filter": {"type": kind}, "durable": true})),
        )
        .await;
    assert_eq!(status, 201, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

async fn position(service: &Service, id: &str) -> String {
    let shown = service.get(&format!("/subscriptions/{id}")).await;
    shown["position"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_is_for_one_handle_or_for_all() {
    let service = Service::start().await;
    let (a, b) = (durable(&service, "a").await, durable(&service, "b").await);
    let mut socket = open(&service).await;
    for (handle, id) in [("a", &a), ("b", &b)] {
        // It goes on at the acknowledged position, which is its beginning, unless that is here.
        let connected = subscribe(&mut socket, handle, id).await;
        if connected["replaying"] == true {
            until(&mut socket, |message| message["type"] == "live").await;
        }
    }
    let begun = position(&service, &b).await;
    service.publish("a", json!({"n": 0})).await;
    service.publish("b", json!({"n": 1})).await;
    let (first, second) = (socket.message().await, socket.message().await);
    assert_eq!(
        (event(&first), event(&second)),
        ((vec!["a"], 0), (vec!["b"], 1))
    );
    let cursor = |message: &serde_json::Value| message["cursor"].as_str().unwrap().to_owned();
    tell(
        &mut socket,
        json!({"type": "ack", "handle": "unknown", "cursor": cursor(&second)}),
    )
    .await;
    // What was for others counts too: it stands in the same order.
    tell(
        &mut socket,
        json!({"type": "ack", "handle": "a", "cursor": cursor(&second)}),
    )
    .await;
    service
        .until("a is moved", async || {
            position(&service, &a).await == cursor(&second)
        })
        .await;
    assert_eq!(position(&service, &b).await, begun);
    tell(
        &mut socket,
        json!({"type": "ack", "cursor": cursor(&second)}),
    )
    .await;
    service
        .until("b is moved", async || {
            position(&service, &b).await == cursor(&second)
        })
        .await;
    // Who comes back without a cursor goes on there.
    socket.leave().await;
    service.publish("a", json!({"n": 2})).await;
    let mut socket = open(&service).await;
    let wish = json!({"type": "subscribe", "items": [
        {"handle": "x", "subscription": a}, {"handle": "y", "subscription": b}]});
    tell(&mut socket, wish).await;
    let mut numbers = Vec::new();
    let mut live = 0;
    while live < 2 || numbers.is_empty() {
        let message = socket.message().await;
        match message["type"].as_str().unwrap() {
            "event" => {
                assert_eq!(message["replay"], true, "{message}");
                numbers.push(event(&message).1);
            }
            "live" => live += 1,
            "connected" => assert_eq!(message["cursor"].as_str().unwrap(), cursor(&second)),
            _ => panic!("{message}"),
        }
    }
    assert_eq!(numbers, [2]);
    service.stop().await;
}
