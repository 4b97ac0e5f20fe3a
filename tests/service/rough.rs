//! Clients that ask for much, read slowly or break the rules: the worst of it is theirs alone.

use serde_json::json;

use crate::{
    kit::{insert_big, until_closed},
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

