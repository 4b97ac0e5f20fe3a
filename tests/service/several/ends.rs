//! The ends of handles, which leave others alone, and of the socket.

use std::time::Duration;

use serde_json::json;

use super::kit::{event, open, subscribe, tell, until};
use crate::{
    kit::{insert_big, insert_events},
    support::{Service, Socket},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_can_be_used_again_right_behind_its_end() {
    let service = Service::start().await;
    let a = service.subscribe(json!({"type": "a"})).await;
    let b = service.subscribe(json!({"type": "b"})).await;
    let mut socket = open(&service).await;
    subscribe(&mut socket, "h", &a).await;
    service.publish("a", json!({"n": 0})).await;
    tell(&mut socket, json!({"type": "unsubscribe", "handle": "h"})).await;
    tell(
        &mut socket,
        json!({"type": "subscribe", "handle": "h", "subscription": b}),
    )
    .await;
    tell(&mut socket, json!({"type": "unsubscribe", "handle": "h"})).await;
    tell(&mut socket, json!({"type": "unsubscribe", "handle": "h"})).await;
    tell(
        &mut socket,
        json!({"type": "unsubscribe", "handle": "unknown"}),
    )
    .await;
    tell(
        &mut socket,
        json!({"type": "subscribe", "handle": "h", "subscription": b}),
    )
    .await;
    let mut kinds = Vec::new();
    while kinds.iter().filter(|kind| *kind == "connected").count() < 2 {
        let message = socket.message().await;
        if message["type"] == "event" {
            assert_eq!(event(&message), (vec!["h"], 0));
        } else {
            assert_eq!(message["handle"], "h", "{message}");
        }
        if message["type"] == "ended" {
            assert_eq!(
                (&message["reason"], &message["code"]),
                (&json!("unsubscribed"), &json!(4502))
            );
            assert_eq!(message["retryAfterMs"], json!(null));
        }
        kinds.push(message["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(kinds, ["event", "ended", "connected", "ended", "connected"]);
    service.publish("b", json!({"n": 1})).await;
    assert_eq!(event(&socket.message().await), (vec!["h"], 1));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_is_proved_when_the_kernel_has_the_last_words_of_the_handle() {
    let service = Service::start().await;
    let (gone, stays) = (
        service.subscribe(json!({"type": "a"})).await,
        service.subscribe(json!({"type": "b"})).await,
    );
    let mut socket = open(&service).await;
    subscribe(&mut socket, "gone", &gone).await;
    subscribe(&mut socket, "stays", &stays).await;
    assert_eq!(
        service
            .send("DELETE", &format!("/subscriptions/{gone}"), None)
            .await
            .0,
        204
    );
    let path = format!("/subscriptions/{gone}/teardown");
    service
        .until("a proof", async || {
            let shown = service.get(&path).await;
            shown["nodes"]
                .as_array()
                .is_some_and(|nodes| nodes.iter().any(|node| node["closed"] == 1))
        })
        .await;
    let ended = socket.message().await;
    assert_eq!(
        (&ended["type"], &ended["handle"]),
        (&json!("ended"), &json!("gone"))
    );
    service.publish("b", json!({"n": 1})).await;
    assert_eq!(event(&socket.message().await), (vec!["stays"], 1));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_takes_no_last_words_is_closed_whole() {
    let service = Service::start_with(|config| {
        config.socket.close_timeout = Duration::from_millis(300);
        config.socket.ping_interval = Duration::from_mins(10);
        config.socket.pong_timeout = Duration::from_mins(10);
        config.socket.send_buffer_bytes = 4 << 10;
        config.socket.outbox_frames = 100_000;
        config.socket.outbox_bytes = 64 << 20;
    })
    .await;
    let big = service.subscribe(json!({"type": "big"})).await;
    let gone = service.subscribe(json!({"type": "a"})).await;
    let mut socket = Socket::open_narrow(service.address, "/api/v1/socket")
        .await
        .unwrap();
    assert_eq!(socket.message().await["type"], "welcome");
    subscribe(&mut socket, "big", &big).await;
    subscribe(&mut socket, "gone", &gone).await;
    insert_big(&service, 200).await;
    assert_eq!(
        service
            .send("DELETE", &format!("/subscriptions/{gone}"), None)
            .await
            .0,
        204
    );
    // It reads nothing.
    service
        .until("the socket is closed", async || {
            service.closed("slow_consumer").await > 0.0
        })
        .await;
    let path = format!("/subscriptions/{gone}/teardown");
    service
        .until("a proof", async || {
            let shown = service.get(&path).await;
            shown["nodes"]
                .as_array()
                .is_some_and(|nodes| nodes.iter().any(|node| node["closed"] == 1))
        })
        .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_socket_ends_every_handle_once_and_what_waits_comes_first() {
    let service = Service::start().await;
    let a = service.subscribe(json!({"type": "a"})).await;
    let mut socket = open(&service).await;
    subscribe(&mut socket, "x", &a).await;
    subscribe(&mut socket, "y", &a).await;
    insert_events(&service, "a", 0..50).await;
    assert_eq!(event(&socket.message().await), (vec!["x", "y"], 0));
    let stopping = service.stop();
    let (rest, ()) = tokio::join!(socket.rest(), stopping);
    let (messages, closed) = rest;
    assert_eq!((closed.code, closed.text.as_str()), (1001, "shutdown"));
    let (ended, events) = messages.split_last().unwrap();
    assert_eq!(
        (&ended["type"], ended.get("handle")),
        (&json!("ended"), None)
    );
    assert!(ended["retryAfterMs"].is_u64(), "{ended}");
    for (n, message) in (1..).zip(events) {
        assert_eq!(event(message), (vec!["x", "y"], n));
    }
    let last = events.last().map(|event| event["cursor"].as_str());
    assert!(ended["cursor"].as_str() >= last.flatten(), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_nothing_is_not_waited_for() {
    let service =
        Service::start_with(|config| config.socket.first_subscribe = Duration::from_millis(200))
            .await;
    let mut idle = open(&service).await;
    idle.assert_ends(4001, "heartbeat_missed").await;
    // A refusal counts as an answer.
    let mut refused = open(&service).await;
    tell(
        &mut refused,
        json!({"type": "subscribe", "handle": "a", "subscription": "nobody"}),
    )
    .await;
    assert_eq!(refused.message().await["type"], "refused");
    let mut idle = open(&service).await;
    idle.assert_ends(4001, "heartbeat_missed").await;
    tell(&mut refused, json!({"type": "ping"})).await;
    let messages = until(&mut refused, |message| message["type"] == "pong").await;
    assert_eq!(messages.len(), 1, "{messages:?}");
    service.stop().await;
}
