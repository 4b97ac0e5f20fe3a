//! Clients that ask for much, read slowly or break the rules hurt themselves alone.

use std::time::Duration;

use futures_util::SinkExt as _;
use serde_json::json;
use tungstenite::Message;

use crate::{
    kit::{insert_big, insert_events, until_closed, with_books_watched},
    support::{Service, Socket},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_that_reads_on_is_told_where_it_is_and_no_further() {
    let service = Service::start_with(|config| {
        config.socket.outbox_frames = 2;
        config.socket.send_buffer_bytes = 4096;
    })
    .await;
    let id = service.subscribe(json!({"type": "big"})).await;
    let mut socket = service.connect(&id).await;
    insert_big(&service, 300).await;
    until_closed(&service, "slow_consumer", 1).await;
    let (messages, closed) = socket.rest().await;
    assert_eq!((closed.code, closed.text.as_str()), (4000, "slow_consumer"));
    let (ended, events) = messages.split_last().unwrap();
    assert_eq!(ended["type"], "ended");
    assert!(!events.is_empty() && events.len() < 300, "{}", events.len());
    assert_eq!(ended["cursor"], events.last().unwrap()["cursor"]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_breaks_the_rules_while_its_outbox_is_full_does_not_hold_up_the_router() {
    let service = Service::start_with(|config| {
        config.socket.outbox_frames = 1;
        config.socket.router_patience = Duration::from_hours(1);
    })
    .await;
    let id = service.subscribe(json!({"type": "x"})).await;
    with_books_watched(&service, async {
        for round in 1..=10 {
            let mut socket = service.connect(&id).await;
            let publishing = insert_events(&service, "x", 0..500);
            let breaking = async {
                socket.event().await;
                socket.say_anything("what?").await;
                socket.rest().await.1
            };
            let ((), closed) = tokio::join!(publishing, breaking);
            assert_eq!((closed.code, closed.text.as_str()), (4520, "bad_message"));
            until_closed(&service, "bad_message", round).await;
        }
    })
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_pings_at_once_than_may_wait_are_all_answered() {
    const PINGS: usize = 300;
    let service = Service::start_with(|config| {
        // Nothing else wakes the connection.
        config.socket.ping_interval = Duration::from_hours(1);
    })
    .await;
    let id = service.subscribe(json!({"type": "x"})).await;
    let mut socket = service.connect(&id).await;
    send_at_once(
        &mut socket,
        &vec![Message::text(r#"{"type":"ping"}"#); PINGS],
    )
    .await;
    for _ in 0..PINGS {
        assert_eq!(socket.message().await, json!({"type": "pong"}));
    }
    send_at_once(
        &mut socket,
        &vec![Message::Ping(vec![7; 120].into()); PINGS],
    )
    .await;
    for _ in 0..PINGS {
        let pong = socket.frame().await.unwrap().unwrap();
        assert!(matches!(pong, Message::Pong(_)), "{pong:?}");
    }
    socket.leave().await;
    service.stop().await;
}

async fn send_at_once(socket: &mut Socket, messages: &[Message]) {
    for message in messages {
        socket.stream.feed(message.clone()).await.unwrap();
    }
    socket.stream.flush().await.unwrap();
}
