//! Signs of life: a client without any is closed, and a client with some is kept.

use std::time::Duration;

use serde_json::json;
use tidegate::config::Config;
use tokio::io::AsyncWriteExt as _;
use tungstenite::Message;

use crate::{
    raw::{PING, Raw, TEXT, client_frame},
    support::{DEADLINE, Service},
};

fn quick(config: &mut Config) {
    config.socket.ping_interval = Duration::from_millis(50);
    config.socket.pong_timeout = Duration::from_secs(2);
    config.socket.close_timeout = Duration::from_millis(500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_answers_no_ping_is_missed() {
    let service = Service::start_with(quick).await;
    let id = service.subscribe(json!({})).await;
    let mut mute = Raw::open(service.address, &id).await;
    let ping = mute.frame().await.expect("a ping, not the end");
    assert_eq!((ping.first, ping.payload.len()), (PING, 0));
    // Its other messages are no pong.
    mute.send(&client_frame(TEXT, br#"{"type":"ping"}"#)).await;
    assert_eq!(mute.message().await, json!({"type": "pong"}));
    let ended = mute.assert_ends(4001, "heartbeat_missed").await;
    assert!(ended["retryAfterMs"].is_u64(), "{ended}");
    assert_eq!(service.count_closed("heartbeat_missed").await, 1);
    service.assert_books_balance().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_neither_reads_nor_answers_is_missed() {
    let service = Service::start_with(|config| {
        quick(config);
        config.socket.send_buffer_bytes = 4 * 1024;
    })
    .await;
    let id = service.subscribe(json!({})).await;
    let idle = Raw::open(service.address, &id).await;
    // This client also has a frame stuck in its socket, so that no ping can leave.
    let stuck = Raw::open_narrow(service.address, &id).await;
    service
        .publish("large", json!("x".repeat(300 * 1024)))
        .await;
    let missed = async || service.count_closed("heartbeat_missed").await >= 2;
    service.until("both are missed", missed).await;
    assert_eq!(service.count("tidegate_connections").await, 0);
    service.assert_books_balance().await;
    // Both find the end when they look.
    for mut raw in [idle, stuck] {
        while raw.frame().await.is_some() {}
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_answers_is_kept() {
    let service = Service::start_with(|config| {
        config.socket.ping_interval = Duration::from_millis(50);
        config.socket.pong_timeout = DEADLINE * 2;
    })
    .await;
    let id = service.subscribe(json!({})).await;
    let mut socket = service.connect(&id).await;
    // The next ping comes only after the last one is answered, which the library does by itself.
    let mut pings = 0;
    while pings < 20 {
        match socket.frame().await.expect("a ping, not the end") {
            Ok(Message::Ping(_)) => pings += 1,
            Ok(Message::Text(text)) if text.starts_with(r#"{"type":"at","#) => {}
            frame => panic!("no ping, but {frame:?}"),
        }
    }
    service.publish("still here", json!(1)).await;
    assert_eq!(socket.event().await, json!(1));
    assert_eq!(service.count_closed("heartbeat_missed").await, 0);
    drop(socket);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_message_is_answered_by_a_pong_message() {
    let service = Service::start().await;
    let id = service.subscribe(json!({})).await;
    let mut socket = service.connect(&id).await;
    socket.say_anything(r#"{"type":"ping","more":[1]}"#).await;
    assert_eq!(socket.message().await, json!({"type": "pong"}));
    drop(socket);
    service.stop().await;
}

/// The client's input stays in the kernel's buffers: the server reads no further than it can answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_floods_pings_without_reading_is_not_read_and_missed() {
    let service = Service::start_with(|config| {
        quick(config);
        config.socket.send_buffer_bytes = 4 * 1024;
    })
    .await;
    let id = service.subscribe(json!({})).await;
    let floods = [
        client_frame(PING, &[b'x'; 125]),
        client_frame(TEXT, br#"{"type":"ping"}"#),
    ];
    for flood in floods {
        let before = service.count_closed("heartbeat_missed").await;
        let mut raw = Raw::open_narrow(service.address, &id).await;
        let flood = flood.repeat(1_000);
        let flooding =
            tokio::spawn(async move { while raw.tcp.write_all(&flood).await.is_ok() {} });
        let missed = async || service.count_closed("heartbeat_missed").await > before;
        service.until("it is missed", missed).await;
        flooding.await.unwrap();
    }
    service.assert_books_balance().await;
    service.stop().await;
}
