//! Clients that ask for much, read slowly or break the rules: the worst of it is theirs alone.

use std::time::Duration;

use serde_json::json;

use crate::{
    kit::{insert_big, insert_events, until_closed, with_books_watched},
    support::Service,
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
        config.socket.router_patience = Duration::from_secs(3600);
    })
    .await;
    let id = service.subscribe(json!({"type": "x"})).await;
    with_books_watched(&service, async {
        for round in 1..=10 {
            let mut socket = service.connect(&id).await;
            let publishing = insert_events(&service, "x", 0..500);
            let breaking = async {
                socket.event().await;
                socket.say("what?").await;
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

